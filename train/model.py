"""The whole model: pixels -> normalise -> transformer -> backbone -> logits."""

import torch
from torch import nn

from lstn.contract import Contract, Loc
from lstn.errors import UsageError
from lstn.train.backbones import backbone_named
from lstn.train.localizers import build_localizer
from lstn.train.transformer import Transformer


class Classifier(nn.Module):
    """The network that a contract describes, newly initialised.

    transformer: localizer + grid + sampler, or None for loc `none`
    backbone:    (N, 3, H, W) float32 -> logits (N, K)

    Raises:
        UsageError: no such backbone, or images too small for it or for the localizer.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        entry = backbone_named(contract.backbone)
        if min(contract.image_hw) < entry.smallest:
            height, width = contract.image_hw
            raise UsageError(
                f"images of {height} x {width} pixels are too small for {contract.backbone}, "
                f"which needs {entry.smallest} x {entry.smallest}",
                hint="use a larger image size, or another model",
            )
        # Not persistent: mean and std have one home, the contract, and a checkpoint carries that.
        mean, std = torch.tensor(contract.mean).reshape(3, 1, 1), torch.tensor(contract.std).reshape(3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self.transformer = _build_transformer(contract)
        self.backbone = entry.factory(len(contract.labels))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, (pixels / 255 - mean) / std per channel."""
        # Cast first: TensorRT refuses to transpose uint8.
        return pixels.to(torch.float32).permute(0, 3, 1, 2) * self.scale + self.shift

    def transform(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Everything before the backbone: (N, H, W, 3) uint8 -> images (N, 3, H, W) float32, theta (N, 2, 3) float32.

        To be kept out of autocast: half-precision theta and grid are a tenth of a pixel coarse at 224.
        """
        images = self.normalise(pixels)
        if self.transformer is None:
            return images, None
        warped, theta = self.transformer(images)
        return warped, theta

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(N, H, W, 3) uint8 -> logits (N, K) float32, and with a transformer theta (N, 2, 3) float32 beside them."""
        images, theta = self.transform(pixels)
        logits: torch.Tensor = self.backbone(images)
        return logits if theta is None else (logits, theta)


def _build_transformer(contract: Contract) -> Transformer | None:
    if contract.loc is Loc.NONE:
        return None
    return Transformer(build_localizer(contract.loc, contract.image_hw, contract.theta), contract.image_hw)
