"""Training of a classifier: the cross-entropy of its labels, and what is wanted of its theta."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.evaluation.scores import Tally
from lstn.health.chance import chance_level
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model
from lstn.nn.warping.forms import each_warp, landmarks
from lstn.recipe import Recipe
from lstn.train.batches.drawn_moves import move
from lstn.train.batches.loading import ImageBatch, Images, batches
from lstn.train.computing.distributed import ALONE, World
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.following_loss import unfollowed
from lstn.train.objectives.label_loss import TEACHERS_SHARE, against_labels, against_teacher
from lstn.train.objectives.objective import Measured, StepLoss
from lstn.train.objectives.supervision import pose_loss
from lstn.train.runs.options import Options, TrainingPrecision

AMP = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The arithmetic of what comes after the warp, by the name of a precision."""


class Network(nn.Module):
    """A model as it trains: pixels (N, H, W, 3) uint8 -> logits (N, K) in `precision`, and thetas (N, …) or None.

    compiled: hand the backbone, or what of it comes after the warp, to torch.compile; the rest takes too little of the
              time for that
    """

    def __init__(self, model: Classifier, precision: TrainingPrecision, *, compiled: bool = False) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        # Here and not in the model: evaluation and probe, in other modes and sizes, would each have it compiled anew.
        self._classify = torch.compile(model.classify) if compiled else model.classify

    def forward(self, pixels: Tensor, moves: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return logits, theta, and with `moves` (N, 2, 3) the theta of the moved images.

        Only the backbone runs in a lower precision. Coordinates in half precision would be 0.1 pixel coarse at 224, so
        the transformer stays outside.
        """
        of_moved = None
        if moves is None:
            frames, theta = self.model.transform(pixels)
        else:
            frames, theta, of_moved = self._with_moved(pixels, moves)
        with torch.autocast(pixels.device.type, AMP[self.precision], enabled=self.precision != "fp32"):
            return self._classify(frames), theta, of_moved

    def _with_moved(self, pixels: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the warped frames and the theta of images, and the theta of the moved ones.

        The localizer sees all at once: its BatchNorm normalises moved images as it does the others.
        """
        model, transformer = self.model, self.model.transformer
        assert transformer is not None  # no other model is trained with moves
        images = model.normalise(pixels)
        frames = model.frames(torch.cat([images, move(images, moves)]))
        theta, of_moved = transformer.localize(frames, model.look).chunk(2)
        return transformer.warp(frames[: len(images)], theta), theta, of_moved


def forward(model: Classifier, pixels: Tensor, precision: TrainingPrecision) -> Tensor:
    """pixels (N, H, W, 3) uint8 -> logits (N, K), as training computes them."""
    logits: Tensor = Network(model, precision)(pixels)[0]
    return logits


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierObjective:
    """The objective of a classifier.

    class_weights: (K,) float32, by which an image of each class counts; None: all alike
    teacher:       from pixels (N, H, W, 3) uint8 to the logits (N, K) float32 of another model, or None
    """

    class_weights: Tensor | None = None
    teacher: Callable[[Tensor], Tensor] | None = None

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""
        assert isinstance(model, Classifier)
        return Network(model, options.precision, compiled=compiled)

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step comes to, of which the cross-entropy is told."""
        logits, theta, of_moved = network(batch.pixels, batch.moves)
        logits, shows = logits.float(), batch.labels if batch.targets is None else batch.targets
        entropy = F.cross_entropy(logits, shows)
        loss = self._of_labels(logits, batch, options.recipe, entropy) + of_theta(
            options.recipe, batch, theta, of_moved
        )
        if theta is not None and batch.poses is not None:
            loss = loss + options.supervise * pose_loss(theta, batch.poses, size, world)
        most = batch.labels if batch.targets is None else batch.targets.argmax(1)
        return StepLoss(loss, entropy, (logits.argmax(1) == most).double().mean())

    def _of_labels(self, logits: Tensor, batch: ImageBatch, recipe: Recipe, entropy: Tensor) -> Tensor:
        smoothing, weights = recipe.label_smoothing, self.class_weights
        loss = entropy
        if smoothing or weights is not None:
            shows = batch.labels if batch.targets is None else batch.targets
            loss = against_labels(logits, shows, smoothing=smoothing, class_weights=weights)
        if self.teacher is None:
            return loss
        taught = against_teacher(logits, self.teacher(batch.pixels))
        return (1 - TEACHERS_SHARE) * loss + TEACHERS_SHARE * taught

    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return the cross-entropy and the accuracy, and what always answering the commonest class comes to."""
        assert isinstance(model, Classifier)
        tally = Tally(model.contract.labels)
        loss, accuracy = loss_and_accuracy(model, images, batch_size, at.workers, at.device, at.world, tally)
        tally.merge(at.world.others(tally))
        scores = tally.scores()
        commonest = int(scores.asked.max()) / len(images)
        return Measured(loss, accuracy, chance_level(commonest, len(images)), scores)


@torch.no_grad()
def loss_and_accuracy(
    model: Classifier,
    images: Images,
    batch_size: int,
    workers: int,
    device: torch.device,
    world: World = ALONE,
    tally: Tally | None = None,
) -> tuple[float, float]:
    """Return the mean loss (nats) and the accuracy (0..1) in float32, as the exported model computes.

    `tally` counts the answers that this process computes.
    """
    model.eval()
    loss_sum, right = 0.0, 0
    loader = batches(images, batch_size=batch_size, workers=workers, shuffle_seed=None, device=device, world=world)
    for pixels, labels, *_ in loader:
        logits = forward(model, pixels.to(device), "fp32").cpu()
        loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
        if tally is not None:
            tally.add(logits.numpy(), labels.numpy())
    loss_sum, hits = world.sum(torch.tensor([loss_sum, right], dtype=torch.float64, device=device))
    return loss_sum / len(images), hits / len(images)


def of_theta(recipe: Recipe, batch: ImageBatch, theta: Tensor | None, of_moved: Tensor | None) -> Tensor | float:
    """Return what a step's loss has beside the labels': of where the crops lie."""
    if theta is None:
        return 0.0
    each = each_warp(theta)
    loss = recipe.in_frame * outside(each) if recipe.in_frame else torch.zeros((), device=theta.device)
    if of_moved is not None and batch.moves is not None:
        height, width = batch.pixels.shape[1:3]
        moves = batch.moves.repeat_interleave(len(each) // len(theta), dim=0)
        loss = loss + recipe.equivariance * unfollowed(each, each_warp(of_moved), moves, width / height)
    return loss


def outside(theta: Tensor) -> Tensor:
    """theta (N, …) -> half the mean squared distance of its landmarks from the frame, in half sides, a scalar.

    They are the corners of what is sampled, or a spline's control points (`lstn.nn.warping.forms.landmarks`).
    """
    return landmarks(theta).abs().sub(1).relu().square().mean()
