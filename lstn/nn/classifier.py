"""The whole model: pixels -> normalise -> transformer -> backbone -> logits; or the backbone's stem before it."""

import torch
from torch import nn

from lstn.contract import At, Contract, Loc
from lstn.errors import UsageError
from lstn.nn.backbones import backbone_named
from lstn.nn.localizers import build_localizer
from lstn.nn.stems import run, split, stem_shape
from lstn.nn.transformer import DroppedTransformer, Transformer


class Classifier(nn.Module):
    """The network that a contract describes, newly initialised.

    transformer: localizer + grid + sampler, or None for loc `none`
    backbone:    (N, 3, H, W) float32 -> logits (N, K)

    What the transformer warps is called its frames: the images, or the feature maps behind the backbone's stem.

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
        self._at = contract.at
        self._stem_seen = contract.loc is Loc.SHARED and contract.at is At.INPUT
        # The backbone first, so that for one seed it starts alike whatever the localizer; and then in the order of
        # computation, which is that of the weights in a checkpoint.
        backbone = entry.factory(len(contract.labels))
        self.transformer = _build_transformer(contract, backbone)
        self.backbone = backbone

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, (pixels / 255 - mean) / std per channel."""
        # Cast first: TensorRT refuses to transpose uint8.
        return pixels.to(torch.float32).permute(0, 3, 1, 2) * self.scale + self.shift

    def transform(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Everything up to the warp: (N, H, W, 3) uint8 -> what `classify` takes, float32, and theta (N, 2, 3) float32.

        To be kept out of autocast: half-precision theta and grid are a tenth of a pixel coarse at 224.
        """
        frames = self.frames(self.normalise(pixels))
        if self.transformer is None:
            return frames, None
        warped, theta = self.transformer(frames, self.look)
        return warped, theta

    def frames(self, images: torch.Tensor) -> torch.Tensor:
        """Return what is warped: normalised images (N, 3, H, W), or what the stem makes of them (N, C, h, w)."""
        return run(split(self.backbone)[0], images) if self._at is At.STEM else images

    def look(self, frames: torch.Tensor) -> torch.Tensor:
        """Return what the localizer sees of frames: them, or what the stem that it shares makes of them."""
        return run(split(self.backbone)[0], frames) if self._stem_seen else frames

    def classify(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames, warped or not -> logits (N, K): the backbone, or what of it comes after the stem."""
        logits: torch.Tensor = run(split(self.backbone)[1], frames) if self._at is At.STEM else self.backbone(frames)
        return logits

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(N, H, W, 3) uint8 -> logits (N, K) float32, and with a transformer theta (N, 2, 3) float32 beside them."""
        frames, theta = self.transform(pixels)
        logits = self.classify(frames)
        return logits if theta is None else (logits, theta)


def _build_transformer(contract: Contract, backbone: nn.Module) -> Transformer | None:
    if contract.loc is Loc.NONE:
        return None
    channels, *hw = 3, *contract.image_hw
    frame_hw, what = contract.image_hw, "images"
    if contract.at is At.STEM or contract.loc is Loc.SHARED:
        channels, *hw = stem_shape(backbone, contract.image_hw)
        what = f"feature maps of {contract.backbone}"
    if contract.at is At.STEM:
        frame_hw = hw[0], hw[1]
    localizer = build_localizer(contract.loc, (hw[0], hw[1]), contract.theta, channels=channels, what=what)
    kind = DroppedTransformer if contract.loc is Loc.DEAD else Transformer
    return kind(localizer, frame_hw, contract.iterations)
