"""Forms of theta: any affine matrix, one that a localizer's numbers can't leave, or another kind of warp.

An unbounded theta can run away: a crop outside of the frame is blank, and a blank image has no gradient that would lead
back. A bounded one is made of fewer numbers, each through a function whose range ends. All of it is part of the model,
and of the exported graph: slices, Tanh, Exp, Sin, Cos and products, which every engine computes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lstn.contract import SPLINE_SIDE, ThetaForm
from lstn.warps.spline import CONTROL
from lstn.warps.warp import fixed_points as points_of

LARGEST_ZOOM = 3.0
"""A similarity magnifies or shrinks at most this much, and turns by less than half a turn."""

SMALLEST_CROP = 0.2
"""Least side of a crop, as a share of the image's."""

_FIRST_CROP = 0.9
"""The side to begin with: at 1, the end of its range, there would be neither a gradient nor room to shift."""

MOST_PERSPECTIVE = 0.45
"""How much nearer than the crop's centre, as a share, the middle of an edge of a projective crop may be; its corners
twice as much, which leaves a tenth: at 1 they would lie at infinity."""

_MIDDLE, _REACH = (1 + SMALLEST_CROP) / 2, (1 - SMALLEST_CROP) / 2


@dataclass(frozen=True, slots=True)
class NumbersOfForm:
    """How the head's numbers become theta.

    upright: scale, x, y -> the n numbers of an upright crop, or close to it: of that share of both sides, around (x, y)
    theta:   numbers (N, n) float32 -> theta (N, …) float32, of the form's shape
    """

    upright: Callable[[float, float, float], tuple[float, ...]]
    theta: Callable[[torch.Tensor], torch.Tensor]

    @property
    def start(self) -> tuple[float, ...]:
        """The numbers to begin with, by which theta is the identity, or a crop close to it."""
        return self.upright(1.0, 0.0, 0.0)


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


def projective(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 8) -> (N, 3, 3): any affine matrix, above a bounded perspective; the lower right number is 1."""
    perspective = MOST_PERSPECTIVE * torch.tanh(numbers[:, 6:])
    one = 0 * numbers[:, :1] + 1
    return torch.cat([numbers[:, :6], perspective, one], dim=1).reshape(-1, 3, 3)


def tps(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 32) -> (N, 16, 2): where the control points of a thin plate spline are read, without bounds.

    Jaderberg et al. 2015, section 3.2, have the same 4 x 4 points.
    """
    return numbers.reshape(-1, SPLINE_SIDE**2, 2)


def polar(numbers: torch.Tensor) -> torch.Tensor:
    """(N, 3) -> (N, 2, 3): the disc of a log-polar crop, its radius within 1/3 .. 3 and its centre within the frame.

    Esteves et al. 2018 (Polar Transformer Networks) find the centre alone. A turned disc is a crop moved sideways.
    """
    bounded = torch.tanh(numbers)
    scale = torch.exp(math.log(LARGEST_ZOOM) * bounded[:, :1])
    zero = 0 * scale
    return torch.cat([scale, zero, bounded[:, 1:2], zero, scale, bounded[:, 2:]], dim=1).reshape(-1, 2, 3)


def each_warp(theta: torch.Tensor) -> torch.Tensor:
    """Return each warp by itself: of several an image, (N, K, …) -> (N * K, …); of one, (N, …), as it is."""
    return theta.flatten(0, 1) if theta.dim() == 4 else theta


def homogeneous_points(theta: torch.Tensor) -> torch.Tensor:
    """Return the points of the crop that fix a warp, as `lstn.warps.warp.fixed_points`: (4 or 16, 3), x, y and 1."""
    points = points_of(tuple(theta.shape))
    return torch.tensor(np.column_stack([points, np.ones(len(points))]), dtype=theta.dtype, device=theta.device)


def landmarks(theta: torch.Tensor) -> torch.Tensor:
    """Return where the points that fix a warp are read: theta (N, …) -> (N, 4 or 16, 2), from -1 to 1.

    As `lstn.warps.warp.landmarks_px`, with gradients. They are the corners of a crop, or a spline's control points.
    """
    if theta.shape[-1] == 2:
        return theta
    found = (theta[:, None] * homogeneous_points(theta)[:, None]).sum(3)
    return found if theta.shape[-2] == 2 else found[:, :, :2] / found[:, :, 2:]


def frame(theta: torch.Tensor) -> torch.Tensor:
    """Return the affine matrix nearest to a warp, (N, …) -> (N, 2, 3): `lstn.warps.warp.frame_of`, with gradients."""
    if theta.shape[-2:] == (2, 3):
        return theta
    nearest: torch.Tensor = torch.linalg.pinv(homogeneous_points(theta)) @ landmarks(theta)
    return nearest.transpose(1, 2)


def _upright_affine(scale: float, x: float, y: float) -> tuple[float, ...]:
    return scale, 0.0, x, 0.0, scale, y


def _zoom_of(scale: float) -> float:
    return math.atanh(math.log(scale) / math.log(LARGEST_ZOOM))


def _upright_crop(scale: float, x: float, y: float) -> tuple[float, ...]:
    scale = min(scale, _FIRST_CROP)
    room = (1 - scale) / _FIRST_CROP  # as for the side: at the end of its range a shift would have no gradient
    return math.atanh((scale - _MIDDLE) / _REACH), math.atanh(x / room), math.atanh(y / room)


FORMS: dict[ThetaForm, NumbersOfForm] = {
    ThetaForm.AFFINE: NumbersOfForm(_upright_affine, affine),
    ThetaForm.SIMILARITY: NumbersOfForm(
        lambda scale, x, y: (_zoom_of(scale), 0.0, math.atanh(x), math.atanh(y)), similarity
    ),
    ThetaForm.CROP: NumbersOfForm(_upright_crop, crop),
    ThetaForm.PROJECTIVE: NumbersOfForm(lambda scale, x, y: (*_upright_affine(scale, x, y), 0.0, 0.0), projective),
    ThetaForm.TPS: NumbersOfForm(lambda scale, x, y: tuple((scale * CONTROL + [x, y]).ravel().tolist()), tps),
    ThetaForm.POLAR: NumbersOfForm(lambda scale, x, y: (_zoom_of(scale), math.atanh(x), math.atanh(y)), polar),
}
"""Total over `ThetaForm`."""


def starts(form: ThetaForm, warps: int) -> list[tuple[float, ...]]:
    """Return the numbers to begin with, of each warp: one is the identity, or close to it, and several tile the image.

    Tiles of each row overlap by half, so that an object at the edge of one is in the middle of another.
    """
    return [FORMS[form].upright(*tile) for tile in _tiles(warps)]


def _tiles(count: int) -> Iterator[tuple[float, float, float]]:
    """Yield the scale and the centre of each tile, rows from the top, of as many columns as rows or one more."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = 2 / (columns + 1)
    for row in range(rows):
        of_row = min(columns, count - row * columns)
        for column in range(of_row):
            yield scale, (1 - scale) * _evenly(column, of_row), (1 - scale) * _evenly(row, rows)


def _evenly(place: int, count: int) -> float:
    """Return the place of one of `count` on -1..1, of which the first and the last are the ends."""
    return 2 * place / (count - 1) - 1 if count > 1 else 0.0


def first_theta(form: ThetaForm, warps: int) -> torch.Tensor:
    """Return what an untrained localizer answers, whatever it sees: theta of each warp, (K, …) float32."""
    return FORMS[form].theta(torch.tensor(starts(form, warps)))
