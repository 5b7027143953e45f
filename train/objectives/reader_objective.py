"""Training of a reader: the cross-entropy of its symbols, where they are if that is known, and how well it reads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.data.objects import Objects
from lstn.nn.models import Model
from lstn.nn.reader import Reader
from lstn.nn.recurrent_localizer import Glimpses
from lstn.nn.turned_boxes import thetas_of
from lstn.train.batches.loading import NOBODY, ImageBatch, Images, batches
from lstn.train.computing.distributed import World
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.classifier_objective import AMP
from lstn.train.objectives.glimpse_loss import glimpse_loss
from lstn.train.objectives.objective import Measured, StepLoss
from lstn.train.runs.options import Options, TrainingPrecision
from lstn.transcription.reading_scores import ReadText, score_text, score_texts
from lstn.warps.warp import Theta

_NOT_ASKED = -100
"""The label of a step behind the end of a text."""


class ReaderNetwork(nn.Module):
    """A reader as it trains: pixels (N, H, W, 3) uint8 -> logits (N, T, A + 1) float32, and what its localizer answers,
    or None without one.

    Only the backbone runs in a lower precision.
    """

    def __init__(self, model: Reader, precision: TrainingPrecision, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        self._symbols = torch.compile(model.symbols) if compiled else model.symbols

    def forward(self, pixels: Tensor) -> tuple[Tensor, Glimpses | None]:
        """Return the logits, and where it looked."""
        seen, found = self.model.normalise(pixels), None
        if self.model.transformer is not None:
            seen, found = self.model.locate(seen)
        with torch.autocast(pixels.device.type, AMP[self.precision], enabled=self.precision != "fp32"):
            logits = self._symbols(seen)
        logits = logits.float()
        return (logits, None) if found is None else (logits + found.answers, found)


class ReaderObjective:
    """The objective of a reader."""

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""
        assert isinstance(model, Reader)
        return ReaderNetwork(model, options.precision, compiled=compiled)

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step comes to, of which the cross-entropy of whole texts is told, in nats an image."""
        assert batch.objects is not None
        logits, found = network(batch.pixels)
        wanted = step_labels(batch.objects[0], steps=logits.shape[1], end=logits.shape[2] - 1)
        entropy = text_entropy(logits, wanted)
        loss = entropy
        if found is not None and options.supervise:
            poses = step_poses(*batch.objects, steps=logits.shape[1])
            loss = loss + options.supervise * glimpse_loss(found, poses, options, size, world)
        asked = wanted != _NOT_ASKED
        right = ((logits.argmax(2) == wanted) & asked).sum() / asked.sum()
        return StepLoss(loss, entropy, right.double())

    @torch.no_grad()
    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return the cross-entropy of whole texts, and the share of texts that are read without an error."""
        assert isinstance(model, Reader)
        network, contract = ReaderNetwork(model, "fp32").eval(), model.contract
        loss_sum = 0.0
        found: list[ReadText] = []
        loader = batches(
            images, batch_size=batch_size, workers=at.workers, shuffle_seed=None, device=at.device, world=at.world
        )
        for batch in loader:
            there = batch.to(at.device)
            assert there.objects is not None
            logits, glimpses = network(there.pixels)
            wanted = step_labels(there.objects[0], steps=logits.shape[1], end=len(contract.labels))
            loss_sum += float(text_entropy(logits, wanted)) * len(batch.pixels)
            thetas: list[Theta | None] = [None] * len(logits)
            if glimpses is not None:
                thetas = list(thetas_of(glimpses.boxes, contract.image_hw).cpu().numpy())
            each = zip(texts_of(batch), logits.cpu().numpy(), thetas, strict=True)
            found += [score_text(truth, answer, places, contract) for truth, answer, places in each]
        for others in at.world.others(found):
            found = found + others
        (loss_sum,) = at.world.sum(torch.tensor([loss_sum], dtype=torch.float64, device=at.device))
        scores = score_texts(found)
        return Measured(loss_sum / len(images), scores.right / scores.images, None, scores)


def step_labels(labels: Tensor, *, steps: int, end: int) -> Tensor:
    """Return what each step has to answer: labels (N, M), NOBODY behind the last -> (N, T) int64.

    Behind the last symbol of a text that has fewer than T comes `end`, and then nothing is asked.
    """
    padded = F.pad(labels, (0, max(0, steps - labels.shape[1])), value=NOBODY)[:, :steps]
    step = torch.arange(steps, device=labels.device)
    ends = (labels != NOBODY).sum(1, keepdim=True)
    behind = torch.full_like(padded, _NOT_ASKED).masked_fill(step == ends, end)
    return torch.where(step < ends, padded, behind)


def step_poses(labels: Tensor, thetas: Tensor, *, steps: int) -> Tensor:
    """Return where each step's symbol is: (N, M), (N, M, 2, 3) -> (N, T, 2, 3), not a number where there is none."""
    known = torch.where((labels == NOBODY)[:, :, None, None], torch.nan, thetas)
    return F.pad(known, (0, 0, 0, 0, 0, max(0, steps - labels.shape[1])), value=torch.nan)[:, :steps]


def text_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean over images of -log of the probability of the whole text, with its end, in nats.

    logits: (N, T, A + 1); wanted: (N, T), as `step_labels`
    """
    total = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_NOT_ASKED, reduction="sum")
    return total / len(logits)


def texts_of(batch: ImageBatch) -> list[Objects]:
    """Return the symbols of each image of a batch, in order."""
    assert batch.objects is not None
    pairs = zip(*(each.numpy() for each in batch.objects), strict=True)
    return [Objects(labels[labels != NOBODY], thetas[labels != NOBODY]) for labels, thetas in pairs]
