"""Quadrilaterals that affine thetas read: how much two overlap, and the upright boxes around them."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.warps.warp import CORNERS, Theta, in_pixels, sampled

Rectangle: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, from the outer edges of the picture."""

Overlaps: TypeAlias = npt.NDArray[np.float64]
"""(A, B), each 0..1."""

_PAIRS = 16_384
"""Pairs that are compared at a time, in 10 MB or so."""

_Matrix: TypeAlias = npt.NDArray[np.float64]
_Affine: TypeAlias = npt.NDArray[np.floating[Any]]


def upright_boxes(thetas: Theta, image_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the upright boxes around what thetas (N, 2, 3) read: (N, 4), left, top, right and bottom in pixels."""
    corners = in_pixels(sampled(thetas, CORNERS), image_hw)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def upright_box(theta: Theta, image_hw: tuple[int, int]) -> Rectangle:
    """Return the upright box around what a theta (2, 3) reads."""
    left, top, right, bottom = upright_boxes(theta[None], image_hw)[0].tolist()
    return left, top, right, bottom


def areas_px(thetas: Theta, image_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the areas of what thetas (N, 2, 3) read, (N,), in pixels of the picture."""
    return _areas(thetas.astype(np.float64)) / 4 * image_hw[0] * image_hw[1]


def overlaps(one: _Affine, other: _Affine) -> Overlaps:
    """Return the intersection over union of each of (A, 2, 3) with each of (B, 2, 3), exactly: (A, B) float64.

    It is the same in pixels of any picture, because affine maps keep ratios of areas. A mirrored theta reads the same
    place. One without area, or that is not finite, overlaps nothing.
    """
    found = np.zeros((len(one), len(other)))
    ours, theirs = np.asarray(one, np.float64), np.asarray(other, np.float64)
    near = _near(ours, theirs)
    for start in range(0, len(near), _PAIRS):
        rows, columns = near[start : start + _PAIRS].T
        found[rows, columns] = _shares(ours[rows], theirs[columns])
    return found


def _near(one: _Matrix, other: _Matrix) -> npt.NDArray[np.intp]:
    """Return the pairs (P, 2) that have areas and may overlap, as the upright boxes around them do."""
    with np.errstate(over="ignore", invalid="ignore"):
        (ours, theirs) = (np.abs(each[:, :, :2]).sum(axis=2) for each in (one, other))
        apart = np.abs(one[:, None, :, 2] - other[None, :, :, 2])
        touch = (apart < ours[:, None] + theirs[None]).all(axis=2)
        solid = [np.isfinite(each).all(axis=(1, 2)) & (_areas(each) > 0) for each in (one, other)]
    return np.argwhere(touch & np.logical_and.outer(*solid))


def _shares(one: _Matrix, other: _Matrix) -> npt.NDArray[np.float64]:
    """Return intersection over union pair by pair, (P,): in the frame where `other` is the square of -1..1."""
    (a, b), (c, d) = other[:, :, :2].transpose(1, 2, 0)
    inverse = np.array([[d, -b], [-c, a]]).transpose(2, 0, 1) / (a * d - b * c)[:, None, None]
    turned = inverse @ one[:, :, :2]
    moved = inverse @ (one[:, :, 2:] - other[:, :, 2:])
    corners = CORNERS @ turned.transpose(0, 2, 1) + moved.transpose(0, 2, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        both = np.minimum(_area_in_square(corners), 4.0)
        whole = 4 * np.abs(np.linalg.det(turned)) + 4 - both
        return np.asarray(np.clip(np.nan_to_num(both / whole), 0.0, 1.0))


def _area_in_square(corners: _Matrix) -> _Matrix:
    """Return how much of convex quadrilaterals (…, 4, 2) lies in the square of -1..1: (…,).

    What lies outside is pushed onto the square's edge. There the outline runs to and fro along the edge, and encloses
    nothing, so what it still encloses is the intersection. Each side is cut first where it crosses the square's lines,
    so that the pushed outline is straight between the cuts.
    """
    way = np.roll(corners, -1, axis=-2) - corners
    with np.errstate(divide="ignore", invalid="ignore"):
        cuts = np.concatenate([(-1 - corners) / way, (1 - corners) / way], axis=-1)
    cuts = np.sort(np.clip(np.nan_to_num(cuts, nan=0.0), 0.0, 1.0), axis=-1)
    cuts = np.concatenate([np.zeros_like(cuts[..., :1]), cuts], axis=-1)  # the side's end begins the next one
    points = np.clip(corners[..., None, :] + cuts[..., None] * way[..., None, :], -1.0, 1.0)
    outline = points.reshape(*points.shape[:-3], -1, 2)
    x, y = outline[..., 0], outline[..., 1]
    return np.asarray(np.abs((x * np.roll(y, -1, -1) - np.roll(x, -1, -1) * y).sum(-1)) / 2)


def _areas(thetas: _Matrix) -> npt.NDArray[np.float64]:
    """Return areas on -1..1, (N,)."""
    across, down = thetas[:, :, 0], thetas[:, :, 1]
    return np.asarray(4 * np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]))
