"""Training of a detector: its regions, their classes and their boxes; and how precise it is."""

import torch
from torch import Tensor, nn

from lstn.contract import ThetaForm
from lstn.data.objects import Objects
from lstn.detection.detecting import score_detections
from lstn.detection.suppression import LEAST_SCORE, Detection, detections
from lstn.nn.detector import Detector
from lstn.nn.models import Model
from lstn.nn.turned_boxes import boxes_of, moved_boxes, thetas_of, upright_around
from lstn.train.batches.loading import NOBODY, ImageBatch, Images, batches
from lstn.train.computing.distributed import World
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.classifier_objective import AMP
from lstn.train.objectives.objective import Measured, StepLoss
from lstn.train.objectives.region_loss import RegionLosses, anchor_losses, region_losses, region_targets
from lstn.train.runs.options import Options, TrainingPrecision


class DetectorNetwork(nn.Module):
    """A detector as it trains: pixels (N, H, W, 3) uint8, and their objects -> losses, in float32.

    The regions don't get gradients of the second stage, as in Faster R-CNN's approximate joint training (Ren et al.
    2015, section 3.2); and the true boxes are among them, so that none starts without an object.
    """

    def __init__(self, model: Detector, precision: TrainingPrecision, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        self._frames = torch.compile(model.frames) if compiled else model.frames
        self._look_into = torch.compile(model.look_into) if compiled else model.look_into

    def _autocast(self, pixels: Tensor) -> torch.autocast:
        """The backbone's arithmetic; boxes and grids stay in float32."""
        return torch.autocast(pixels.device.type, AMP[self.precision], enabled=self.precision != "fp32")

    def forward(self, pixels: Tensor, labels: Tensor, thetas: Tensor) -> RegionLosses:
        """labels (N, M) int64, thetas (N, M, 2, 3) float32, as `ImageBatch.objects`."""
        return self.answered(pixels, labels, thetas)[0]

    def answered(self, pixels: Tensor, labels: Tensor, thetas: Tensor) -> tuple[RegionLosses, Tensor, Tensor]:
        """Return the losses, and what the model answers: logits (N, K, C + 1) and thetas (N, K, 2, 3) float32."""
        model, localizer = self.model, self.model.localizer
        boxes = boxes_of(thetas, model.contract.image_hw)
        boxes = upright_around(boxes) if model.contract.theta is ThetaForm.CROP else boxes
        with self._autocast(pixels):
            frames = self._frames(model.normalise(pixels))
        frames = frames.float()
        scores, numbers = localizer.answers(frames)
        flat = numbers.permute(0, 1, 3, 4, 2).reshape(len(pixels), len(localizer.anchors), -1)
        of_anchors = anchor_losses(scores.flatten(1), flat, localizer.anchors, boxes, labels)
        best = localizer.best(scores, numbers).detach()
        # As many true boxes as regions at most: an image with hundreds would take the memory of all others. In the
        # place of one that isn't there the best region is looked at once more.
        true = torch.where((labels == NOBODY)[:, :, None], best[:, :1], boxes)[:, : best.shape[1]]
        regions = torch.cat([best, true], dim=1)
        with self._autocast(pixels):
            logits, moves = (each.float() for each in self._look_into(frames, regions))
        classes, wanted = region_targets(regions, boxes, labels, nothing=len(model.contract.labels))
        losses = RegionLosses(*of_anchors, *region_losses(logits, moves, regions, classes, wanted))
        count = model.contract.warps
        crops = thetas_of(moved_boxes(regions[:, :count], moves[:, :count]), model.contract.image_hw)
        return losses, logits[:, :count], crops


class DetectorObjective:
    """The objective of a detector."""

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""
        assert isinstance(model, Detector)
        return DetectorNetwork(model, options.precision, compiled=compiled)

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step comes to: the sum of the losses, and the share of regions whose class is right."""
        assert batch.objects is not None
        found: RegionLosses = network(batch.pixels, *batch.objects)
        return StepLoss(found.total(), found.total(), found.right.double())

    @torch.no_grad()
    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return the sum of the losses, and the average precision at an overlap of a half (AP50)."""
        assert isinstance(model, Detector)
        network, contract = DetectorNetwork(model, "fp32").eval(), model.contract
        loss_sum = 0.0
        found: list[tuple[Objects, tuple[Detection, ...]]] = []
        loader = batches(
            images, batch_size=batch_size, workers=at.workers, shuffle_seed=None, device=at.device, world=at.world
        )
        torch.manual_seed(0)  # anchors that are asked are drawn, and the next epoch begins with a seed of its own
        for batch in loader:
            there = batch.to(at.device)
            assert there.objects is not None
            losses, logits, theta = network.answered(there.pixels, *there.objects)
            loss_sum += float(losses.total()) * len(batch.pixels)
            answers = zip(logits.cpu().numpy(), theta.cpu().numpy(), strict=True)
            answered = [detections(*each, labels=contract.labels, least=LEAST_SCORE) for each in answers]
            found += zip(_objects(batch), answered, strict=True)
        for others in at.world.others(found):
            found = found + others
        (loss_sum,) = at.world.sum(torch.tensor([loss_sum], dtype=torch.float64, device=at.device))
        scores = score_detections(found, contract.labels, contract.image_hw)
        return Measured(loss_sum / len(images), scores.of(contract.theta).ap50 or 0.0, None, scores)


def _objects(batch: ImageBatch) -> list[Objects]:
    """Return the objects of each image of a batch, without those that stand for none."""
    assert batch.objects is not None
    pairs = zip(*(each.numpy() for each in batch.objects), strict=True)
    return [Objects(labels[labels != NOBODY], thetas[labels != NOBODY]) for labels, thetas in pairs]
