"""The transformer as a layer of anybody's network: images in, warped images out."""

import torch
from torch import nn

from lstn.contract import CONTROLS, MAX_ITERATIONS, Loc, ThetaForm, theta_shape
from lstn.errors import UsageError
from lstn.nn.warping.localizers import build_localizer, usual_view
from lstn.nn.warping.transformer import Transformer

_OWN = tuple(loc for loc in Loc if loc not in (Loc.NONE, Loc.SHARED, *CONTROLS))
"""Localizers that look at the images by themselves."""


class SpatialTransformer(nn.Module):
    """Images, or feature maps -> the same, each warped by the theta that a localizer finds for it.

        self.transformer = lstn.nn.SpatialTransformer("lstn", image_hw=(64, 64))
        ...
        images = self.transformer(images)  # in `forward`, in front of any network

    It starts as the identity, or close to it where theta is bounded, and learns with the network behind it; give its
    parameters a smaller learning rate, 0.1 to 0.3 of the network's. It computes in float32 under autocast too, for in
    half precision a sampling point is a tenth of a pixel coarse at 224.

    localizer:  stn, vstn or lstn (Tables 1-3 of the L-STN paper), glance, or a module of your own from (N, C, H, W)
                float32 to theta (N, …) float32, of the shape that `theta` has
    image_hw:   height and width of the images, in pixels; a localizer is made for one size
    channels:   C of what is warped
    theta:      which warps a localizer answers with (`lstn.nn.warping.forms`): affine, similarity or crop, (2, 3)
                matrices; projective, (3, 3); tps, the (16, 2) points of a thin plate spline; polar, the (2, 3) of a
                disc
    iterations: how often the localizer looks, each time at what it chose so far
    view_hw:    the size, in pixels, at which a localizer of lstn sees the images; None: as they are, glance smaller
    crop_hw:    the size, in pixels, of the result; None: that of the images

    Raises:
        UsageError: no such localizer or form, images or a view too small for it, or a crop larger than the images.
    """

    def __init__(
        self,
        localizer: Loc | str | nn.Module = Loc.LSTN,
        *,
        image_hw: tuple[int, int],
        channels: int = 3,
        theta: ThetaForm | str = ThetaForm.AFFINE,
        iterations: int = 1,
        view_hw: tuple[int, int] | None = None,
        crop_hw: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= iterations <= MAX_ITERATIONS:
            raise UsageError(f"iterations {iterations}; expected 1 to {MAX_ITERATIONS}")
        if theta not in list(ThetaForm):
            raise UsageError(f"there is no theta {str(theta)!r:.80}", hint=f"choose one of: {', '.join(ThetaForm)}")
        if not isinstance(localizer, nn.Module):
            if localizer not in _OWN:
                hint = f"choose one of: {', '.join(_OWN)}; or give a module of your own"
                name = getattr(localizer, "value", localizer)
                raise UsageError(f"localizer {name!r:.80} can't stand alone, or there is none of that name", hint=hint)
            view_hw = usual_view(Loc(localizer), image_hw) if view_hw is None else view_hw
            localizer = build_localizer(Loc(localizer), image_hw, ThetaForm(theta), view_hw=view_hw, channels=channels)
        self.inner = Transformer(localizer, image_hw, iterations, crop_hw, ThetaForm(theta))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float32 -> warped (N, C, h, w) float32, of the crop's size; outside of the image lies zero."""
        return self.transform(images)[0]

    def transform(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, H, W) float32 -> warped (N, C, h, w) float32, theta (N, …) float32.

        theta maps points of the result to points of the image, both from -1 to 1 over the whole image (Jaderberg et
        al. 2015, equation 1).

        Raises:
            UsageError: images of another size than `image_hw`.
        """
        if tuple(images.shape[-2:]) != tuple(self.inner.frame_hw):
            height, width = self.inner.frame_hw
            found = " x ".join(str(side) for side in images.shape[-2:])
            raise UsageError(f"images of {found} pixels; this transformer was made for {height} x {width}")
        if torch.is_autocast_enabled(images.device.type):
            with torch.autocast(images.device.type, enabled=False):
                return self._transformed(images.float())
        return self._transformed(images)

    def _transformed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        theta = self.inner.localize(images)
        wanted = theta_shape(self.inner.form)
        if tuple(theta.shape[1:]) != wanted:
            form = self.inner.form.value
            raise UsageError(
                f"the localizer answers {tuple(theta.shape)}; theta {form} is (N, {wanted[0]}, {wanted[1]})"
            )
        return self.inner.warp(images, theta), theta

    def localize(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float32 -> theta (N, …) float32, alone."""
        return self.transform(images)[1]
