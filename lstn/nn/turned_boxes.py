"""Turned boxes: what a detector computes with, between the numbers of its layers and the thetas that it answers.

A box is (x, y, width, height, angle) float32: its centre and its sides in pixels of the image, from the outer edges,
and how far what is in it is turned counter-clockwise, in radians. Numbers say how one box differs from another, as in
R-CNN (Girshick et al. 2014, appendix C): the shift in sides of the first, along its own axes, and the logarithms of the
ratios of their sides; then the angle, as in RRPN (Ma et al. 2018), which upright boxes leave out.
"""

import math

import torch
from torch import Tensor

from lstn.contract import ThetaForm

SCALES = (0.1, 0.1, 0.2, 0.2, 0.2)
"""Of the numbers: layers answer them in these units, in which they are about as large as logits. The first four are
those of Fast R-CNN's code. Changing one changes what every trained detector answers."""

_CONTEXT = 227 / (227 - 2 * 16)

_MOST_GROWTH = math.log(1000 / 16)
"""A box grows at most so many times: an untrained layer's number through an exponential may be infinite."""


def numbers_of(theta: ThetaForm) -> int:
    """Return how many numbers say how boxes differ: 5, of upright ones 4."""
    return 4 if theta is ThetaForm.CROP else 5


def moved_boxes(boxes: Tensor, numbers: Tensor) -> Tensor:
    """Return the boxes that differ from others by these numbers: (…, 5), (…, 4 or 5) float32 -> (…, 5) float32."""
    x, y, width, height, angle = torch.split(boxes, 1, dim=-1)
    scaled = numbers * numbers.new_tensor(SCALES[: numbers.shape[-1]])
    across, down, wider, higher, *turned = torch.split(scaled, 1, dim=-1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    right, below = width * across, height * down
    return torch.cat(
        [
            x + cos * right + sin * below,
            y - sin * right + cos * below,
            width * torch.exp(wider.clamp(max=_MOST_GROWTH)),
            height * torch.exp(higher.clamp(max=_MOST_GROWTH)),
            angle + turned[0] if turned else angle,
        ],
        dim=-1,
    )


def difference(boxes: Tensor, others: Tensor, count: int) -> Tensor:
    """Return how others differ from boxes: (…, 5), (…, 5) -> (…, count) numbers, which `moved_boxes` takes back.

    count: `numbers_of` the form
    """
    x, y, width, height, angle = boxes.unbind(-1)
    other_x, other_y, other_width, other_height, other_angle = others.unbind(-1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    right, below = other_x - x, other_y - y
    turned = other_angle - angle
    found = [
        (cos * right - sin * below) / width,
        (sin * right + cos * below) / height,
        torch.log(other_width / width),
        torch.log(other_height / height),
        torch.atan2(torch.sin(turned), torch.cos(turned)),
    ]
    return torch.stack(found[:count], dim=-1) / boxes.new_tensor(SCALES[:count])


def thetas_of(boxes: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Return the crops that show what is in boxes upright: (…, 5) -> (…, 2, 3) float32, on -1..1 of the image."""
    height, width = image_hw
    x, y, wide, high, angle = torch.split(boxes, 1, dim=-1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [cos * wide / width, sin * high / width, x * (2 / width) - 1]
    rows += [-1 * sin * wide / height, cos * high / height, y * (2 / height) - 1]
    flat = torch.cat(rows, dim=-1)
    return flat.reshape(*flat.shape[:-1], 2, 3)


def boxes_of(thetas: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Return the boxes that thetas without shear read: (…, 2, 3) float32 -> (…, 5) float32."""
    height, width = image_hw
    sides = thetas.new_tensor([width, height])
    across, down = thetas[..., 0] * sides, thetas[..., 1] * sides
    centre = (thetas[..., 2] + 1) * sides / 2
    angle = torch.atan2(-across[..., 1], across[..., 0])
    lengths = torch.stack([across.norm(dim=-1), down.norm(dim=-1)], dim=-1)
    return torch.cat([centre, lengths, angle[..., None]], dim=-1)


def upright_around(boxes: Tensor) -> Tensor:
    """Return the upright boxes around boxes: (…, 5) -> (…, 5)."""
    left, top, right, bottom = upright(boxes).unbind(-1)
    return torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, torch.zeros_like(left)], -1)


def with_context(boxes: Tensor) -> Tensor:
    """Return boxes with some of what is around them: (…, 5) -> (…, 5).

    Of an object that fills its crop nothing tells a part from the whole. In R-CNN 16 of a crop's 227 pixels on each
    side are context (Girshick et al. 2014, appendix A).
    """
    return boxes * boxes.new_tensor([1, 1, _CONTEXT, _CONTEXT, 1])


def upright(boxes: Tensor) -> Tensor:
    """Return left, top, right and bottom of what is around boxes: (…, 5) -> (…, 4)."""
    x, y, width, height, angle = boxes.unbind(-1)
    cos, sin = torch.cos(angle).abs(), torch.sin(angle).abs()
    reach_x, reach_y = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return torch.stack([x - reach_x, y - reach_y, x + reach_x, y + reach_y], dim=-1)
