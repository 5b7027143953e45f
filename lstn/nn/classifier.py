"""The whole model: pixels -> normalise -> transformer -> backbone -> logits; or the backbone's stem before it."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch
from torch import nn

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, At, Contract, Fit, Loc, ThetaForm
from lstn.errors import UsageError
from lstn.nn.backbones import BACKBONES, backbone_named, foreign_name
from lstn.nn.joined_crops import join_crops
from lstn.nn.normalising import Normalising
from lstn.nn.shapes import shapes_only
from lstn.nn.sources.stems import Cut, stem_cut
from lstn.nn.warping.localizers import Localizer, build_localizer, usual_view
from lstn.nn.warping.transformer import DroppedTransformer, Transformer


class Classifier(Normalising):
    """The network that a contract describes, newly initialised.

    contract:    what it is
    transformer: localizer + grid + sampler, or None for loc `none`
    backbone:    (N, 3, H, W) float32 -> logits (N, K): made by its name in the contract, or given

    What the transformer warps is called its frames: the images, or the feature maps behind the backbone's stem.

    Raises:
        UsageError: no such backbone, or images too small for it or for the localizer.
    """

    def __init__(self, contract: Contract, backbone: nn.Module | None = None) -> None:
        super().__init__(contract)
        # Frames come channels last in memory; a network that isn't lstn's may call `view` on what it makes of them.
        self._foreign = backbone is not None
        self._at = contract.at
        self._stem_seen = contract.loc is Loc.SHARED and contract.at is At.INPUT
        self._reads_first = _reads_first(contract)
        contract.check()
        # The backbone first, so that for one seed it starts alike whatever the localizer; and then in the order of
        # computation, which is that of the weights in a checkpoint.
        backbone = _backbone_of_crops(contract) if backbone is None else backbone
        self._cut = _cut_for(contract, backbone)
        self.transformer = _build_transformer(contract, self._cut)
        self.backbone = backbone

    @classmethod
    def around(
        cls,
        backbone: nn.Module,
        *,
        labels: Sequence[str],
        image_hw: tuple[int, int],
        loc: Loc | str = Loc.LSTN,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        theta: ThetaForm | str = ThetaForm.AFFINE,
        iterations: int = 1,
        at: At | str = At.INPUT,
        view_hw: tuple[int, int] | None = None,
        crop_hw: tuple[int, int] | None = None,
        fit: Fit | str = Fit.STRETCH,
    ) -> "Classifier":
        """Put a transformer in front of a network of your own; train, export and run the two like any other.

            model = lstn.nn.Classifier.around(MyNetwork(), labels=("cat", "dog"), image_hw=(64, 64))

        The module is used as it is, weights included, and stays yours. Its contract says `module:` and its class.

        backbone:  any module from normalised images, or crops, (N, 3, H, W) float32 to logits (N, K) float32
        labels:    one name for each class, in the order of the logits
        mean, std: per RGB channel on the 0..1 scale; pixels are normalised by them before anything else
        loc, theta, iterations, at, view_hw, crop_hw, fit: as in `Contract`; without a view, `glance` gets its usual one

        Raises:
            UsageError: a value that no contract allows; images too small for the localizer; a backbone that doesn't
                answer such images with logits of that many labels, or whose first layers lstn would have to know.
        """
        fields = {"loc": loc, "theta": theta, "iterations": iterations, "at": at, "labels": labels, "mean": mean}
        fields |= {"view_hw": view_hw, "crop_hw": crop_hw, "image_hw": image_hw, "std": std, "fit": fit}
        contract = Contract.checked(fields | {"backbone": foreign_name(backbone)})
        if view_hw is None:
            contract = replace(contract, view_hw=usual_view(contract.loc, contract.image_hw))
        model = cls(contract, backbone)
        check_backbone(backbone, contract)
        return model

    def transform(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Everything up to the warp: (N, H, W, 3) uint8 -> what `classify` takes, float32, and theta (N, …) float32.

        To be kept out of autocast: half-precision theta and grid are a tenth of a pixel coarse at 224.
        """
        if self._reads_first:
            return self._read(self.floats(pixels))
        frames = self.frames(self.normalise(pixels))
        if self.transformer is None:
            return frames, None
        warped, theta = self.transformer(frames, self.look)
        return warped, theta

    def _read(self, floats: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return crop and theta of images that aren't normalised, by normalising the view and the crop alone."""
        assert self.transformer is not None  # or nothing would be read
        localizer = self.transformer.localizer
        assert isinstance(localizer, Localizer)
        theta = self.transformer.localize(floats, lambda images: localizer.view(images, self.scale, self.shift))
        return self.transformer.warp(floats, theta, (self.scale, self.shift)), theta

    def frames(self, images: torch.Tensor) -> torch.Tensor:
        """Return what is warped: normalised images (N, 3, H, W), or what the stem makes of them (N, C, h, w)."""
        return self._stem(images) if self._at is At.STEM else images

    def look(self, frames: torch.Tensor) -> torch.Tensor:
        """Return what the localizer sees of frames: them, or what the stem that it shares makes of them."""
        return self._stem(frames) if self._stem_seen else frames

    def _stem(self, images: torch.Tensor) -> torch.Tensor:
        assert self._cut is not None  # it is where a stem is needed
        return self._cut.first(self.backbone, images)

    def classify(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames, warped or of that size -> logits (N, K) at temperature 1: the backbone, or what of it comes after the
        stem.

        Of several warps an image has as many frames, one after another.
        """
        frames = frames.contiguous() if self._foreign else frames
        if self._at is At.STEM:
            assert self._cut is not None
            return self._cut.rest(self.backbone, frames)
        logits: torch.Tensor = self.backbone(frames)
        return logits

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(N, H, W, 3) uint8 -> logits (N, K) float32, and with a transformer theta (N, …) float32 beside them."""
        frames, theta = self.transform(pixels)
        logits = self.classify(frames)
        if self.contract.temperature != 1:
            logits = logits / self.contract.temperature
        return logits if theta is None else (logits, theta)


_LARGE = 8
"""So many times the pixels of a crop make an image too large to be normalised for it. From 448 pixels to 112, sixteen
times, reading first takes ONNX Runtime 0.92 of the transformer's time for one image and 0.77 for eight, and OpenVINO
about the same; from 224, four times, 1.06: saying what lies outside takes longer then than normalising all."""


def _reads_first(contract: Contract) -> bool:
    """Whether a model normalises what its localizer sees and what its crop has, and not the image."""
    if contract.view_hw is None or contract.crop_hw is None or contract.iterations > 1:
        return False
    return prod(contract.image_hw) >= _LARGE * prod(contract.crop_hw)


def build_backbone(contract: Contract) -> nn.Module:
    """Make the backbone of a contract.

    Raises:
        UsageError: there is none of its name, or what it is to see is too small for it.
    """
    entry = backbone_named(contract.backbone)
    height, width = contract.backbone_hw
    what, cure = ("images", "image size") if contract.crop_hw is None else ("crops", "--crop")
    if min(height, width) < entry.smallest:
        raise UsageError(
            f"{what} of {height} x {width} pixels are too small for {contract.backbone}, "
            f"which needs {entry.smallest} x {entry.smallest}",
            hint=f"use a larger {cure}, or another model",
        )
    try:
        return entry.make(len(contract.labels), (height, width))
    except (ValueError, AssertionError, RuntimeError) as error:  # of a network made for images of one size
        first = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"{contract.backbone} can't be made for {what} of {height} x {width} pixels: {first:.200}",
            hint=f"use another {cure}: {entry.image_size} is its own",
        ) from error


def check_size(contract: Contract) -> None:
    """Check that a backbone that lstn's own table doesn't name takes what it is to see, which it says when it does.

    Raises:
        UsageError: it doesn't.
    """
    if contract.backbone not in BACKBONES:
        with shapes_only():
            check_backbone(build_backbone(contract), contract)


def _backbone_of_crops(contract: Contract) -> nn.Module:
    backbone = build_backbone(contract)
    return backbone if contract.warps == 1 else join_crops(backbone, contract.warps)


def check_backbone(backbone: nn.Module, contract: Contract) -> None:
    """Show a backbone two blank images, as a model that is used would; nothing of it changes.

    Raises:
        UsageError: it fails, or answers other than with logits for each label.
    """
    name, images = type(backbone).__name__, torch.zeros(2, 3, *contract.backbone_hw)
    modes = {module: module.training for module in backbone.modules()}
    try:
        with torch.no_grad():
            answer = backbone.eval()(images.to(next(backbone.parameters(), images).device))
    except Exception as error:  # whatever a network raises
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"{name} fails on images {tuple(images.shape)} float32: {first:.200}") from error
    finally:
        for module, training in modes.items():
            module.training = training
    wanted = (2, len(contract.labels))
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != wanted or not answer.is_floating_point():
        tensor = isinstance(answer, torch.Tensor)
        found = f"{answer.dtype} {tuple(answer.shape)}" if tensor else f"a {type(answer).__name__}"
        raise UsageError(
            f"{name} answers {found} to 2 images; expected logits {wanted}, one column for each label",
            hint="give as many labels as it has classes, or wrap it in a module that returns the logits alone",
        )


def _cut_for(contract: Contract, backbone: nn.Module) -> Cut | None:
    """Return where the stem ends, for a model of which the transformer warps the stem's maps, or looks at them."""
    needed = contract.at is At.STEM or contract.loc is Loc.SHARED
    return stem_cut(backbone, contract.image_hw) if needed else None


def _build_transformer(contract: Contract, cut: Cut | None) -> Transformer | None:
    if contract.loc is Loc.NONE:
        return None
    channels, *hw = 3, *contract.image_hw
    frame_hw, what = contract.image_hw, "images"
    if cut is not None:
        channels, *hw = cut.shape
        what = f"feature maps of {contract.backbone}"
    if contract.at is At.STEM:
        frame_hw = hw[0], hw[1]
    view_hw = contract.view_hw
    localizer = build_localizer(
        contract.loc,
        (hw[0], hw[1]),
        contract.theta,
        view_hw=view_hw,
        channels=channels,
        what=what,
        warps=contract.warps,
    )
    if contract.loc is Loc.DEAD:
        return DroppedTransformer(localizer, frame_hw, contract.iterations, form=contract.theta).requires_grad_(False)
    return Transformer(localizer, frame_hw, contract.iterations, contract.crop_hw, contract.theta)
