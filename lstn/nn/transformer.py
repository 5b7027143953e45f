"""The transformer: localizer + grid + sampler (Jaderberg et al. 2015, section 3; L-STN paper, Figure 1)."""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from lstn.errors import UsageError
from lstn.warp import taps

Look: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Images (N, C, H, W) -> what the localizer sees of them, (N, c, h, w)."""


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


def _as_they_are(images: torch.Tensor) -> torch.Tensor:
    return images


def compose(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Return the matrix of one warp and then another, as one: theta (N, 2, 3) twice -> (N, 2, 3).

    Sampling an image by `outer`, and the result by `inner`, reads the image at outer(inner(point)). No MatMul, for the
    reason given at `affine_grid`.
    """
    of_x, of_y, shift = outer[:, :, 0:1], outer[:, :, 1:2], outer[:, :, 2:3]
    last = torch.tensor([0.0, 0.0, 1.0], device=outer.device, dtype=outer.dtype)
    return of_x * inner[:, 0:1] + of_y * inner[:, 1:2] + shift * last


class Transformer(nn.Module):
    """Images, or feature maps -> the same, warped by the affine matrix that the localizer finds for each.

    localizer:  maps what it looks at, (N, C, h, w) float32, to theta (N, 2, 3) float32
    frame_hw:   size of what is warped
    iterations: how often the localizer looks. It is one localizer, which each time sees what was chosen so far, sampled
                from the images themselves: nothing is blurred twice (Lin and Lucey 2017, IC-STN)
    crop_hw:    size of the result; None: that of what is warped. Where it is less than a quarter, each of its pixels is
                the mean of several points, for bilinear sampling reads four pixels and would miss the rest
    """

    def __init__(
        self,
        localizer: nn.Module,
        frame_hw: tuple[int, int],
        iterations: int = 1,
        crop_hw: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if crop_hw is not None and (crop_hw[0] > frame_hw[0] or crop_hw[1] > frame_hw[1]):
            raise UsageError(
                "a crop of {} x {} pixels is larger than the image, {} x {}".format(*crop_hw, *frame_hw),
                hint="use a smaller crop, or larger images",
            )
        self.localizer = localizer
        self.frame_hw = frame_hw
        self.iterations = iterations
        self.crop_hw = frame_hw if crop_hw is None else crop_hw
        self._taps = taps(frame_hw[0], self.crop_hw[0]), taps(frame_hw[1], self.crop_hw[1])

    def forward(self, images: torch.Tensor, look: Look = _as_they_are) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) float32 -> warped (N, C, H, W) float32, theta (N, 2, 3) float32.

        `look` makes of images what the localizer sees of them.
        """
        theta = self.localize(images, look)
        return self.warp(images, theta), theta

    def localize(self, images: torch.Tensor, look: Look = _as_they_are) -> torch.Tensor:
        """(N, C, H, W) float32 -> theta (N, 2, 3) float32."""
        theta: torch.Tensor = self.localizer(look(images))
        for _ in range(self.iterations - 1):
            theta = compose(theta, self.localizer(look(sample(images, affine_grid(theta, self.frame_hw)))))
        return theta

    def warp(self, images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float32, theta (N, 2, 3) float32 -> (N, C, h, w) float32, h x w being `crop_hw`."""
        (down, across), (height, width) = self._taps, self.crop_hw
        sampled = sample(images, affine_grid(theta, (down * height, across * width)))
        return F.avg_pool2d(sampled, (down, across)) if max(down, across) > 1 else sampled


class DroppedTransformer(Transformer):
    """A transformer whose output is thrown away, as in the L-STN paper's own code: theta is found, and no use made.

    No gradient reaches it: whoever makes one freezes it, or several processes would wait for one.
    """

    def forward(self, images: torch.Tensor, look: Look = _as_they_are) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) float32 -> the same images, theta (N, 2, 3) float32."""
        return images, self.localize(images, look)


def _pixel_centres(count: int, like: torch.Tensor) -> torch.Tensor:
    """Return `count` evenly spaced centres on -1..1. Odd numerators over `count` round once and mirror exactly."""
    return torch.arange(1 - count, count, 2, dtype=like.dtype, device=like.device) / count
