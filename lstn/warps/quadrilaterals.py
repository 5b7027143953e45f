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
    left, right = _solid(one), _solid(other)
    if not len(left) or not len(right):
        return found
    ours, theirs = (np.asarray(thetas[kept], np.float64) for thetas, kept in ((one, left), (other, right)))
    step = max(1, _PAIRS // len(right))
    for start in range(0, len(left), step):
        found[np.ix_(left[start : start + step], right)] = _shares(ours[start : start + step], theirs)
    return found


def _shares(one: _Matrix, other: _Matrix) -> Overlaps:
    """Return intersection over union where all have an area: in the frame where `other` is the square of -1..1."""
    inverse = np.linalg.inv(other[:, :, :2])
    turned = np.einsum("bij,ajk->abik", inverse, one[:, :, :2])
    moved = np.einsum("bij,abj->abi", inverse, one[:, None, :, 2] - other[None, :, :, 2])
    corners = np.einsum("mj,abij->abmi", CORNERS, turned) + moved[:, :, None]
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


def _solid(thetas: _Affine) -> npt.NDArray[np.intp]:
    """Return which have an area, by number."""
    with np.errstate(over="ignore", invalid="ignore"):
        areas = _areas(thetas.astype(np.float64))
    return np.flatnonzero(np.isfinite(thetas).all(axis=(1, 2)) & (areas > 0))


def _areas(thetas: _Matrix) -> npt.NDArray[np.float64]:
    """Return areas on -1..1, (N,)."""
    across, down = thetas[:, :, 0], thetas[:, :, 1]
    return np.asarray(4 * np.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]))
