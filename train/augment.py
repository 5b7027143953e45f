"""Training images changed at random, through torchvision: the same change for one seed, epoch and image, always."""

from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from lstn.errors import UsageError

Augment: TypeAlias = Literal["none", "affine", "standard"]
"""none:     images as they are
affine:   turned by up to 15 degrees, shifted by up to a tenth of the side, scaled by 0.9 to 1.1; black outside
standard: a crop of the image with a reflected border of an eighth of its side, mirrored half of the time where the
          classes allow it (He et al. 2016, section 4.2: 4 pixels of border on CIFAR-10's 32)
"""

_TURN_DEG, _SHIFT, _SCALE = 15.0, 0.1, (0.9, 1.1)
_BORDER = 1 / 8


class Augmentation:
    """What happens to the images of a run. It can be sent to a worker process.

    mirrors: a mirrored image still shows its class

    Raises:
        UsageError: no such kind.
    """

    def __init__(self, kind: Augment, *, image_hw: tuple[int, int], mirrors: bool, seed: int) -> None:
        if kind not in get_args(Augment):
            raise UsageError(f"unknown augmentation {kind!r}", hint=f"use {', '.join(get_args(Augment))}")
        self._seed = seed
        self._transform = _transform(kind, image_hw, mirrors)

    def __call__(self, pixels: Tensor, indices: list[int], epoch: int) -> Tensor:
        """Change images (N, H, W, 3) uint8, which have these numbers in their split, as is due in `epoch`."""
        if self._transform is None:
            return pixels
        # torchvision draws from the global generator, which dropout draws from as well.
        before = torch.get_rng_state()
        try:
            return torch.stack([self._changed(image, n, epoch) for image, n in zip(pixels, indices, strict=True)])
        finally:
            torch.set_rng_state(before)

    @property
    def idle(self) -> bool:
        """Whether images stay as they are."""
        return self._transform is None

    def _changed(self, image: Tensor, index: int, epoch: int) -> Tensor:
        key = np.random.SeedSequence([self._seed, epoch, index]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(key[0] >> np.uint64(1)))
        assert self._transform is not None
        changed: Tensor = self._transform(image.permute(2, 0, 1))
        return changed.permute(1, 2, 0)


def _transform(kind: Augment, image_hw: tuple[int, int], mirrors: bool) -> v2.Transform | None:
    """(3, H, W) uint8 -> (3, H, W) uint8."""
    if kind == "none":
        return None
    if kind == "affine":
        return v2.RandomAffine(_TURN_DEG, (_SHIFT, _SHIFT), _SCALE, interpolation=v2.InterpolationMode.BILINEAR)
    height, width = image_hw
    border = [max(1, round(width * _BORDER)), max(1, round(height * _BORDER))]
    crop = v2.RandomCrop(image_hw, padding=border, padding_mode="reflect")
    return v2.Compose([crop, v2.RandomHorizontalFlip()]) if mirrors else crop
