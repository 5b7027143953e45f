"""The transformer: localizer + grid + sampler (Jaderberg et al. 2015, section 3; L-STN paper, Figure 1)."""

import torch
import torch.nn.functional as F
from torch import nn


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


def sample(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Read images at the grid's points: (N, C, H, W), (N, h, w, 2) of one dtype -> (N, C, h, w).

    Bilinear, zero outside of the image, and -1..1 spans the image from edge to edge, not from centre to centre.
    """
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class Transformer(nn.Module):
    """Images -> the same images, warped by the affine matrix that the localizer finds in each.

    `localizer` maps (N, 3, H, W) float32 to theta (N, 2, 3) float32; the result has `image_hw` again.
    """

    def __init__(self, localizer: nn.Module, image_hw: tuple[int, int]) -> None:
        super().__init__()
        self.localizer = localizer
        self.image_hw = image_hw

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) float32, normalised -> warped (N, 3, H, W) float32, theta (N, 2, 3) float32."""
        theta: torch.Tensor = self.localizer(images)
        return sample(images, affine_grid(theta, self.image_hw)), theta


def _pixel_centres(count: int, like: torch.Tensor) -> torch.Tensor:
    """Return `count` evenly spaced centres on -1..1. Odd numerators over `count` round once and mirror exactly."""
    return torch.arange(1 - count, count, 2, dtype=like.dtype, device=like.device) / count
