"""The transformer of a generator: an object that was painted upright -> the picture with it."""

from typing import NamedTuple

import torch
from torch import nn

from lstn.nn.generation.object_localizer import ObjectLocalizer
from lstn.nn.turned_boxes import thetas_of
from lstn.nn.warping.grids import affine_grid
from lstn.nn.warping.transformer import compose, sample

SOLID = 0.5
"""How opaque a point of an object is at least, 0..1, to count when its box is measured."""


class Painted(NamedTuple):
    """What a generator paints, all float32.

    pictures: (N, 3, H, W), 0..1
    theta:    (N, 2, 3), from the object's whole frame to the picture; None without a place
    mask:     (N, 1, h, w), 0..1: how opaque the object is in its frame; None without a place
    """

    pictures: torch.Tensor
    theta: torch.Tensor | None
    mask: torch.Tensor | None


class ObjectTransformer(nn.Module):
    """The transformer of a generator, localizer + grid + sampler: an upright object -> the picture with it.

    image_hw: of the picture, in pixels
    """

    def __init__(self, localizer: ObjectLocalizer, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.localizer = localizer
        self._image_hw = image_hw

    def forward(self, layers: torch.Tensor, background: torch.Tensor, code: torch.Tensor) -> Painted:
        """An object's colours and mask (N, 4, h, w) and a background (N, 3, H, W), 0..1, and codes (N, D)."""
        # The localizer looks, and does not teach the background.
        theta = thetas_of(self.localizer(background.detach(), code), self._image_hw)
        colours, mask = layers[:, :3], layers[:, 3:]
        placed = place_objects(torch.cat([colours * mask, mask], dim=1), theta, self._image_hw)
        return Painted(placed[:, :3] + (1 - placed[:, 3:]) * background, theta, mask)


def inverse(theta: torch.Tensor) -> torch.Tensor:
    """Return the affine matrix that undoes another: (N, 2, 3) -> (N, 2, 3), of matrices that can be undone.

    By Cramer's rule: products and one division, which every engine computes, where `torch.inverse` has no ONNX form.
    """
    (a, b, x), (c, d, y) = (torch.split(row, 1, dim=2) for row in (theta[:, :1], theta[:, 1:]))
    first = torch.cat([d, -1 * b, b * y - d * x], dim=2)
    second = torch.cat([-1 * c, a, c * x - a * y], dim=2)
    return torch.cat([first, second], dim=1) / (a * d - b * c)


def place_objects(objects: torch.Tensor, theta: torch.Tensor, image_hw: tuple[int, int]) -> torch.Tensor:
    """Put upright objects where theta says: (N, C, h, w), (N, 2, 3) -> (N, C, H, W), zero around them.

    theta maps the object's frame to the picture, -1..1 both, as everywhere in lstn: a classifier that reads the picture
    by it gets the object upright. A sampler needs the other direction, for it asks where each pixel of the picture is
    in the object; so the grid is that of the inverse.
    """
    return sample(objects, affine_grid(inverse(theta), image_hw))


def tight(theta: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return theta of the box around what is solid: (N, 2, 3), mask (N, 1, h, w) in 0..1 -> (N, 2, 3).

    An object need not fill the frame that it is painted in. Its frame is cut down to the rows and columns in which the
    mask reaches SOLID, or its own highest value if that is less.
    """
    left, right = _ends(mask.amax((1, 2)))
    top, bottom = _ends(mask.amax((1, 3)))
    zero = torch.zeros_like(left)
    across = torch.stack([(right - left) / 2, zero, (left + right) / 2], dim=1)
    down = torch.stack([zero, (bottom - top) / 2, (top + bottom) / 2], dim=1)
    return compose(theta, torch.stack([across, down], dim=1))


def _ends(line: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outer edges of the first and the last solid cell of a line (N, n), on -1..1: (N,) twice."""
    count = line.shape[1]
    edges = torch.arange(count + 1, dtype=line.dtype, device=line.device) * (2 / count) - 1
    solid = line >= torch.minimum(line.amax(1, keepdim=True), torch.full_like(line[:, :1], SOLID))
    first = torch.where(solid, edges[:-1], 1.0).amin(1)
    last = torch.where(solid, edges[1:], -1.0).amax(1)
    return first, last
