"""Aligners: the regions of an image, and the words of a sentence, as vectors of one space."""

import torch
from torch import nn

from lstn.contract import SPACE, Contract
from lstn.nn.classifier import build_backbone
from lstn.nn.normalising import Normalising
from lstn.nn.recurrent_localizer import Glimpses, RecurrentLocalizer
from lstn.nn.sources.starts import last_layer, replace_last
from lstn.nn.turned_boxes import numbers_of, thetas_of, with_context
from lstn.nn.warping.transformer import Transformer
from lstn.nn.word_vectors import WordVectors


class Aligner(Normalising):
    """The network that an aligner's contract describes, newly initialised (Karpathy and Fei-Fei 2015, section 3.1).

    The first region is the whole image. The others are chosen one after another by a reader's localizer
    (`lstn.nn.recurrent_localizer`). One sampler reads all of them, and the backbone makes a vector of each; what the
    localizer remembers is added to it: a crop doesn't show how large something is, or where. A word is about the
    region whose vector has the largest inner product with its own.

    contract:    what it is, of the task align
    transformer: localizer + grid + sampler: images -> crops of K regions
    backbone:    a classifier whose last layer answers a vector
    words:       sentences -> vectors of their words

    Raises:
        UsageError: no such backbone, or images too small for it or for the localizer.
    """

    whole: torch.Tensor

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        contract.check()
        backbone = build_backbone(contract)
        replace_last(backbone, nn.Linear(last_layer(backbone).in_features, SPACE))
        localizer = RecurrentLocalizer(
            contract.loc,
            contract.image_hw,
            view_hw=contract.view_hw,
            steps=contract.warps - 1,
            numbers=numbers_of(contract.theta),
            answers=SPACE,
        )
        self.transformer = Transformer(localizer, contract.image_hw, crop_hw=contract.crop_hw, form=contract.theta)
        self.backbone = backbone
        self.words = WordVectors(len(contract.labels))
        # Not persistent: the size of the image says what it is.
        self.register_buffer("whole", torch.eye(2, 3)[None, None], persistent=False)

    def locate(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Glimpses]:
        """Everything up to the warp: normalised images (N, 3, H, W) -> crops (N * K, 3, h, w) float32, theta
        (N, K, 2, 3) of the regions, and what the localizer answers.

        To be kept out of autocast, as `lstn.nn.classifier.Classifier.transform`.
        """
        found: Glimpses = self.transformer.localizer(images)
        hw = self.contract.image_hw
        chosen, read = thetas_of(found.boxes, hw), thetas_of(with_context(found.boxes), hw)
        whole = self.whole + 0 * chosen[:, :1]
        crops = self.transformer.warp(images, torch.cat([whole, read], dim=1))
        return crops, torch.cat([whole, chosen], dim=1), found

    def seen(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops (N * K, 3, h, w) -> vectors (N, K, SPACE), without what the localizer remembers."""
        vectors: torch.Tensor = self.backbone(crops)
        return vectors.reshape(-1, self.contract.warps, SPACE)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, H, W, 3) uint8 -> vectors of regions (N, K, SPACE) float32, and theta (N, K, 2, 3) float32."""
        crops, theta, found = self.locate(self.normalise(pixels))
        return with_memory(self.seen(crops), found), theta


def with_memory(vectors: torch.Tensor, found: Glimpses) -> torch.Tensor:
    """Add what the localizer remembers at each region that it chose: (N, K, SPACE), of which the first is the image."""
    return torch.cat([vectors[:, :1], vectors[:, 1:] + found.answers], dim=1)
