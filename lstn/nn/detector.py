"""Detectors: pixels -> K regions of each image, and what is in each: one model of R-CNN's kind, made of warps.

The localizer answers K thetas instead of one. One sampler reads them from the image, or from the backbone's map; the
backbone sees each crop and says what it shows, and how its box differs from that. With `--at input` crops are of the
image itself, and small objects are seen at its full resolution. With `--at map` localizer and crops share a map of the
backbone: so does Faster R-CNN (Ren et al. 2015), which pools regions where a sampler reads them here.
"""

import torch
from torch import nn

from lstn.contract import At, Contract
from lstn.errors import UsageError
from lstn.nn.classifier import build_backbone
from lstn.nn.normalising import Normalising
from lstn.nn.region_localizer import RegionLocalizer
from lstn.nn.sources.starts import last_layer, replace_last
from lstn.nn.sources.stems import late_cut
from lstn.nn.turned_boxes import moved_boxes, numbers_of, thetas_of, with_context
from lstn.nn.warping.transformer import Transformer


class Detector(Normalising):
    """The network that a detector's contract describes, newly initialised.

    contract:    what it is, of the task detect
    transformer: localizer + grid + sampler: images, or maps -> crops of K regions
    backbone:    a classifier whose last layer answers for each crop C + 1 logits, and numbers of its box

    What is cut from is called its frames, as in `Classifier`.

    Raises:
        UsageError: no such backbone, or images too small for it, for the localizer, or for so many regions.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__(contract)
        contract.check()
        self._numbers = numbers_of(contract.theta)
        backbone = build_backbone(contract)
        answers = len(contract.labels) + 1 + self._numbers
        replace_last(backbone, nn.Linear(last_layer(backbone).in_features, answers))
        self._cut = late_cut(backbone, contract.image_hw) if contract.at is At.MAP else None
        seen = (3, *contract.image_hw) if self._cut is None else self._cut.shape
        if contract.crop_hw is not None and (contract.crop_hw[0] > seen[1] or contract.crop_hw[1] > seen[2]):
            raise UsageError(
                "a crop of {} x {} is larger than what it is cut from, {} x {}".format(*contract.crop_hw, *seen[1:]),
                hint="use a smaller --crop, or larger images",
            )
        localizer = RegionLocalizer(
            contract.loc,
            seen,
            contract.image_hw,
            view_hw=contract.view_hw,
            count=contract.warps,
            numbers=self._numbers,
        )
        self.transformer = Transformer(localizer, (seen[1], seen[2]), crop_hw=contract.crop_hw, form=contract.theta)
        self.backbone = backbone

    @property
    def localizer(self) -> RegionLocalizer:
        """The localizer, which answers boxes in pixels and no thetas: they are refined before they are crops."""
        localizer = self.transformer.localizer
        assert isinstance(localizer, RegionLocalizer)
        return localizer

    def frames(self, images: torch.Tensor) -> torch.Tensor:
        """Return what is cut from: normalised images (N, 3, H, W), or what the backbone makes of them (N, c, h, w)."""
        return images if self._cut is None else self._cut.first(self.backbone, images)

    def look_into(self, frames: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames, and boxes in them (N, K, 5) -> logits (N, K, C + 1), and numbers (N, K, n) of each box, float32."""
        seen = with_context(boxes) if self._cut is None else boxes
        crops = self.transformer.warp(frames, thetas_of(seen, self.contract.image_hw))
        answer = self.backbone(crops) if self._cut is None else self._cut.rest(self.backbone, crops)
        answer = answer.reshape(-1, boxes.shape[1], answer.shape[1])
        classes = len(self.contract.labels) + 1
        return answer[:, :, :classes], answer[:, :, classes:]

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, H, W, 3) uint8 -> logits (N, K, C + 1) float32, of which the last says that nothing is there, and theta
        (N, K, 2, 3) float32, the crop of each object."""
        frames = self.frames(self.normalise(pixels))
        boxes = self.localizer(frames)
        logits, numbers = self.look_into(frames, boxes)
        return logits, thetas_of(moved_boxes(boxes, numbers), self.contract.image_hw)
