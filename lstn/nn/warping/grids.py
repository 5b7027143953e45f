"""Grids: where in the image each pixel of the crop is read, one function for each kind of theta."""

import numpy as np
import torch

from lstn.contract import FORM_TRAITS, ThetaForm
from lstn.warps.spline import basis
from lstn.warps.warp import crop_points


def constant_of(form: ThetaForm, crop_hw: tuple[int, int], image_hw: tuple[int, int]) -> torch.Tensor | None:
    """Return what a form's grid has of its own, whatever theta is; None for matrices, whose grid is made of them alone.

    Of a spline, (h * w, 16) float32: what each control point contributes to each pixel. Of a log-polar crop, the points
    of the image's largest disc, (h * w, 2) float32.

    The crop is one of `lstn.contract.check_crop`, so that it takes 64 MB at most.
    """
    if not FORM_TRAITS[form].dense:
        return None
    points = crop_points(form, crop_hw, image_hw)
    numbers = basis(points) if form is ThetaForm.TPS else points
    return torch.tensor(numbers.astype(np.float32))  # not `from_numpy`, which knows no torch.device("meta")


def grid_of(
    form: ThetaForm, theta: torch.Tensor, crop_hw: tuple[int, int], constant: torch.Tensor | None
) -> torch.Tensor:
    """Return the sampling points of a crop: theta (N, …) float32, of the form's shape -> grid (N, h, w, 2) float32.

    constant: `constant_of` this form and size
    """
    if form is ThetaForm.PROJECTIVE:
        return projective_grid(theta, crop_hw)
    if constant is None:
        return affine_grid(theta, crop_hw)
    points = constant @ theta if form is ThetaForm.TPS else _affine(theta, constant)
    return points.reshape(-1, *crop_hw, 2)


def affine_grid(theta: torch.Tensor, image_hw: tuple[int, int]) -> torch.Tensor:
    """Return the sampling points of an affine matrix: theta (N, 2, 3) float32 -> grid (N, H, W, 2) float32.

    grid[n, i, j] = theta[n] @ (x_j, y_i, 1), with pixel centres x_j = (2j + 1)/W - 1 and y_i = (2i + 1)/H - 1: what
    `F.affine_grid(align_corners=False)` returns, to 1e-6.

    Why not that function: it exports to a ReduceSum over (N, H*W, 3, 2) that costs ONNX Runtime more than the rest of
    the transformer together, and TensorRT refuses the ONNX operator AffineGrid. Here the part that depends on x alone
    is computed once per column, as rows of W (x, y) pairs, and each of H rows only adds its share of y. That outer
    product is a Mul and an Add and not a MatMul on purpose: TensorRT, by default, multiplies float32 matrices in TF32,
    whose ten bits of fraction move points near the border of a 224 pixel image by up to 0.05 pixels.
    """
    height, width = image_hw
    x = _pixel_centres(width, theta)[:, None]
    y = _pixel_centres(height, theta)[:, None]
    of_x, of_y, shift = theta[:, None, :, 0], theta[:, None, :, 1], theta[:, None, :, 2]
    rows = (of_x * x + shift).reshape(-1, 1, 2 * width)
    slope = of_y.expand(-1, width, -1).reshape(-1, 1, 2 * width)
    grid: torch.Tensor = y * slope + rows
    return grid.reshape(-1, height, width, 2)


def projective_grid(theta: torch.Tensor, crop_hw: tuple[int, int]) -> torch.Tensor:
    """Return the sampling points of a projective matrix: theta (N, 3, 3) float32 -> grid (N, h, w, 2) float32.

    The first two rows as `affine_grid`, over what the third row makes of the point.
    """
    height, width = crop_hw
    x, y = _pixel_centres(width, theta), _pixel_centres(height, theta)[:, None]
    across, down, one = theta[:, 2:, 0:1], theta[:, 2:, 1:2], theta[:, 2:, 2:3]
    depth = across * x + one + down * y
    grid: torch.Tensor = affine_grid(theta[:, :2], crop_hw) / depth.reshape(-1, height, width, 1)
    return grid


def _affine(theta: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(N, 2, 3), (M, 2) -> (N, M, 2). No MatMul, for the reason given at `affine_grid`."""
    of_x, of_y, shift = theta[:, None, :, 0], theta[:, None, :, 1], theta[:, None, :, 2]
    return of_x * points[:, :1] + of_y * points[:, 1:] + shift


def _pixel_centres(count: int, like: torch.Tensor) -> torch.Tensor:
    """Return `count` evenly spaced centres on -1..1. Odd numerators over `count` round once and mirror exactly."""
    return torch.arange(1 - count, count, 2, dtype=like.dtype, device=like.device) / count
