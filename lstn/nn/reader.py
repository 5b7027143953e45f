"""Readers: pixels -> the symbols of a text, and where each is: a recurrent transformer in front of one backbone."""

import torch
from torch import nn

from lstn.contract import Contract, Loc
from lstn.nn.classifier import build_backbone
from lstn.nn.normalising import Normalising
from lstn.nn.recurrent_localizer import Glimpses, RecurrentLocalizer
from lstn.nn.sources.starts import last_layer, replace_last
from lstn.nn.turned_boxes import numbers_of, thetas_of, with_context
from lstn.nn.warping.transformer import Transformer


class Reader(Normalising):
    """The network that a reader's contract describes, newly initialised.

    The localizer chooses T crops in the order of reading (`lstn.nn.recurrent_localizer`), one sampler reads them from
    the image, and the backbone says of each which symbol it shows (Sønderby et al. 2015). What the localizer remembers
    at a step is added to that, so given the image no symbol depends on another.

    Of loc `none` there is no transformer: the backbone sees the image, and its last layer answers for all T symbols
    (Goodfellow et al. 2014).

    contract:    what it is, of the task read
    transformer: localizer + grid + sampler: images -> crops of T symbols; None for loc `none`
    backbone:    a classifier whose last layer answers A + 1 logits, of which the last says that the text has ended

    Raises:
        UsageError: no such backbone, or images too small for it or for the localizer.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        contract.check()
        self._answers = len(contract.labels) + 1
        backbone = build_backbone(contract)
        each = self._answers * (contract.warps if contract.loc is Loc.NONE else 1)
        replace_last(backbone, nn.Linear(last_layer(backbone).in_features, each))
        self.transformer = None if contract.loc is Loc.NONE else _transformer(contract, self._answers)
        self.backbone = backbone

    def locate(self, images: torch.Tensor) -> tuple[torch.Tensor, Glimpses]:
        """Everything up to the warp: normalised images (N, 3, H, W) -> crops (N * T, 3, h, w) float32, and what the
        localizer answers.

        To be kept out of autocast, as `lstn.nn.classifier.Classifier.transform`. Not for loc `none`.
        """
        assert self.transformer is not None
        found: Glimpses = self.transformer.localizer(images)
        crops = self.transformer.warp(images, thetas_of(with_context(found.boxes), self.contract.image_hw))
        return crops, found

    def symbols(self, seen: torch.Tensor) -> torch.Tensor:
        """Crops, or of loc `none` images -> logits (N, T, A + 1), without what the localizer remembers."""
        answers: torch.Tensor = self.backbone(seen)
        return answers.reshape(-1, self.contract.warps, self._answers)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(N, H, W, 3) uint8 -> logits (N, T, A + 1) float32, and theta (N, T, 2, 3) float32, the crop of each symbol,
        but for loc `none`."""
        images = self.normalise(pixels)
        if self.transformer is None:
            return self.symbols(images)
        crops, found = self.locate(images)
        return self.symbols(crops) + found.answers, thetas_of(found.boxes, self.contract.image_hw)


def _transformer(contract: Contract, answers: int) -> Transformer:
    localizer = RecurrentLocalizer(
        contract.loc,
        contract.image_hw,
        view_hw=contract.view_hw,
        steps=contract.warps,
        numbers=numbers_of(contract.theta),
        answers=answers,
    )
    return Transformer(localizer, contract.image_hw, crop_hw=contract.crop_hw, form=contract.theta)
