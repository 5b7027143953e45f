"""Forms of theta: any affine matrix, or one that a localizer's numbers can't leave.

An unbounded theta can run away: a crop outside of the frame is blank, and a blank image has no gradient that would lead
back. A bounded one is made of fewer numbers, each through a function whose range ends. All of it is part of the model,
and of the exported graph: slices, Tanh, Exp, Sin, Cos and products, which every engine computes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lstn.contract import ThetaForm

LARGEST_ZOOM = 3.0
"""A similarity magnifies or shrinks at most this much, and turns by less than half a turn."""

SMALLEST_CROP = 0.2
"""Least side of a crop, as a share of the image's."""

_FIRST_CROP = 0.9
"""The side to begin with: at 1, the end of its range, there would be neither a gradient nor room to shift."""

_MIDDLE, _REACH = (1 + SMALLEST_CROP) / 2, (1 - SMALLEST_CROP) / 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """How the head's numbers become theta.

    start: the numbers to begin with, by which theta is the identity, or a crop close to it
    theta: numbers (N, len(start)) float32 -> theta (N, 2, 3) float32
    """

    start: tuple[float, ...]
    theta: Callable[[torch.Tensor], torch.Tensor]


def affine(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 6) -> (N, 2, 3): the numbers themselves, without bounds, as in the paper."""
    return numbers.reshape(-1, 2, 3)


def similarity(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 4) -> (N, 2, 3): rotation, one scale within 1/3 .. 3, and a centre within the frame."""
    bounded = torch.tanh(numbers)
    scale = torch.exp(math.log(LARGEST_ZOOM) * bounded[:, :1])
    angle = math.pi * bounded[:, 1:2]
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    return torch.cat([cos, -1 * sin, bounded[:, 2:3], sin, cos, bounded[:, 3:]], dim=1).reshape(-1, 2, 3)


def crop(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 3) -> (N, 2, 3): an upright crop of 0.2 to 1 of both sides, never outside of the frame.

    Jaderberg et al. 2015, equation 2 (attention), with the shift bounded by the room that the scale leaves.
    """
    bounded = torch.tanh(numbers)
    scale = _MIDDLE + _REACH * bounded[:, :1]
    shift = (1 - scale) * bounded[:, 1:]
    zero = 0 * scale
    return torch.cat([scale, zero, shift[:, :1], zero, scale, shift[:, 1:]], dim=1).reshape(-1, 2, 3)


BOUNDS: dict[ThetaForm, Bounds] = {
    ThetaForm.AFFINE: Bounds((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), affine),
    ThetaForm.SIMILARITY: Bounds((0.0, 0.0, 0.0, 0.0), similarity),
    ThetaForm.CROP: Bounds((math.atanh((_FIRST_CROP - _MIDDLE) / _REACH), 0.0, 0.0), crop),
}
"""Total over `ThetaForm`."""
