"""The transformer: localizer + grid + sampler (Jaderberg et al. 2015, section 3; L-STN paper, Figure 1)."""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from lstn.contract import ThetaForm, check_crop, check_looks, taps
from lstn.nn.warping.forms import each_warp
from lstn.nn.warping.grids import constant_of, grid_of

Look: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""Images (N, C, H, W) -> what the localizer sees of them, (N, c, h, w)."""

Normalisation: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Scale and shift, (C, 1, 1) each, by which images are normalised: scale * images + shift."""


def sample(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Read images at the grid's points: (N, C, H, W), (N, h, w, 2) of one dtype -> (N, C, h, w).

    Bilinear, zero outside of the image, and -1..1 spans the image from edge to edge, not from centre to centre.
    """
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def inside(grid: torch.Tensor, image_hw: tuple[int, int]) -> torch.Tensor:
    """Return how much of what is read at each point is the image's: grid (N, h, w, 2) -> (N, 1, h, w), 0..1.

    It is what `sample` makes of an image of ones, without reading one: bilinear weights are products of two, one for
    each axis, and along an axis the weight of what lies beyond the edge grows over one pixel.
    """
    height, width = image_hw
    sides = width if width == height else grid.new_tensor((width, height))
    return ((sides + 1) / 2 - grid.abs() * (sides / 2)).clamp(0, 1).prod(3).unsqueeze(1)


def _as_they_are(images: torch.Tensor) -> torch.Tensor:
    return images


def compose(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Return the matrix of one warp and then another, as one: theta twice -> theta, (N, 2, 3) or (N, 3, 3) all.

    Sampling an image by `outer`, and the result by `inner`, reads the image at outer(inner(point)). No MatMul, for the
    reason given at `affine_grid`.
    """
    of_x, of_y, shift = outer[:, :, 0:1], outer[:, :, 1:2], outer[:, :, 2:3]
    last = torch.tensor([0.0, 0.0, 1.0], device=outer.device, dtype=outer.dtype)
    return of_x * inner[:, 0:1] + of_y * inner[:, 1:2] + shift * (inner[:, 2:3] if inner.shape[1] == 3 else last)


class Transformer(nn.Module):
    """Images, or feature maps -> the same, warped as the localizer says for each.

    localizer:  maps what it looks at, (N, C, h, w) float32, to theta (N, …) float32, of the form's shape; or to several
                warps of each image, (N, K, …). Their crops lie one after another in the result, (N * K, C, h, w)
    frame_hw:   size of what is warped
    iterations: how often the localizer looks. It is one localizer, which each time sees what was chosen so far, sampled
                from the images themselves: nothing is blurred twice (Lin and Lucey 2017, IC-STN)
    crop_hw:    size of the result; None: that of what is warped. Where it is less than a quarter, each of its pixels is
                the mean of several points, for bilinear sampling reads four pixels and would miss the rest
    form:       of theta (`lstn.nn.warping.forms`)

    Raises:
        UsageError: a crop larger than what is warped, or several iterations of warps that don't add up to one.
    """

    constant: torch.Tensor | None

    def __init__(
        self,
        localizer: nn.Module,
        frame_hw: tuple[int, int],
        iterations: int = 1,
        crop_hw: tuple[int, int] | None = None,
        form: ThetaForm = ThetaForm.AFFINE,
    ) -> None:
        super().__init__()
        check_crop(frame_hw if crop_hw is None else crop_hw, frame_hw, form)
        check_looks(iterations, form)
        self.localizer = localizer
        self.form = form
        self.frame_hw = frame_hw
        self.iterations = iterations
        self.crop_hw = frame_hw if crop_hw is None else crop_hw
        self._taps = taps(frame_hw[0], self.crop_hw[0]), taps(frame_hw[1], self.crop_hw[1])
        # Not persistent: the form and the size say what it is.
        self.register_buffer("constant", constant_of(form, self._points_hw, frame_hw), persistent=False)

    @property
    def _points_hw(self) -> tuple[int, int]:
        """How many points are read, down and across."""
        (down, across), (height, width) = self._taps, self.crop_hw
        return down * height, across * width

    def forward(self, images: torch.Tensor, look: Look = _as_they_are) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) float32 -> warped (N, C, h, w) float32, h x w being `crop_hw`, and theta (N, …) float32.

        `look` makes of images what the localizer sees of them.
        """
        theta = self.localize(images, look)
        return self.warp(images, theta), theta

    def localize(self, images: torch.Tensor, look: Look = _as_they_are) -> torch.Tensor:
        """(N, C, H, W) float32 -> theta (N, …) float32."""
        theta: torch.Tensor = self.localizer(look(images))
        for _ in range(self.iterations - 1):
            seen = sample(images, grid_of(self.form, theta, self.frame_hw, None))
            theta = compose(theta, self.localizer(look(seen)))
        return theta

    def warp(self, images: torch.Tensor, theta: torch.Tensor, values: Normalisation | None = None) -> torch.Tensor:
        """(N, C, H, W) float32, theta (N, …) float32 -> (N, C, h, w) float32, h x w being `crop_hw`.

        theta (N, K, …) -> (N * K, C, h, w), read from the images at once, by the grids of an image one below another.

        values: of images that aren't normalised yet, of which only what is read is: the same as if all of them were
        """
        several = theta.dim() == 4
        grid = grid_of(self.form, each_warp(theta), self._points_hw, self.constant)
        if several:
            grid = grid.reshape(-1, theta.shape[1] * self._points_hw[0], self._points_hw[1], 2)
        sampled = sample(images, grid)
        if values is not None:
            sampled = sampled * values[0] + values[1] * inside(grid, self.frame_hw)
        pooled = F.avg_pool2d(sampled, self._taps) if max(self._taps) > 1 else sampled
        if not several:
            return pooled
        crops = pooled.reshape(-1, images.shape[1], theta.shape[1], *self.crop_hw).transpose(1, 2)
        return crops.reshape(-1, images.shape[1], *self.crop_hw)


class DroppedTransformer(Transformer):
    """A transformer whose output is thrown away, as in the L-STN paper's own code: theta is found, and no use made.

    No gradient reaches it: whoever makes one freezes it, or several processes would wait for one.
    """

    def forward(self, images: torch.Tensor, look: Look = _as_they_are) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) float32 -> the same images, theta (N, …) float32."""
        return images, self.localize(images, look)
