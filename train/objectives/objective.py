"""The objective of a run: what its steps make small, and by what its best epoch is chosen. One for each task."""

from typing import NamedTuple, Protocol, TypeAlias

from torch import Tensor, nn

from lstn.alignment.alignment_scores import AlignmentScores
from lstn.detection.detecting import DetectionScores
from lstn.evaluation.scores import Scores
from lstn.nn.models import Model
from lstn.synthesis.generation_scores import GenerationScores
from lstn.tagging.tag_scores import TagScores
from lstn.train.batches.loading import ImageBatch, Images
from lstn.train.computing.distributed import World
from lstn.train.computing.workplace import Workplace
from lstn.train.runs.options import Options
from lstn.transcription.reading_scores import ReadingScores

AnyScores: TypeAlias = Scores | TagScores | DetectionScores | ReadingScores | AlignmentScores | GenerationScores
"""Those of a model, by its task."""


class StepLoss(NamedTuple):
    """What a step makes small; what of it is told; and the share of answers that were right, 0..1. All are scalars."""

    loss: Tensor
    told: Tensor
    right: Tensor


class Measured(NamedTuple):
    """What a model's answers to a split came to.

    loss:     the mean over images; of a classifier in nats
    accuracy: by which the best epoch is chosen, 0..1; of a model that tags its mean average precision, of a detector
              its AP50, of a reader the texts without an error, of a generator the pictures that pass for real ones
    chance:   the accuracy up to which a model is at chance, 0..1; None where nobody knows
    scores:   all of it
    """

    loss: float
    accuracy: float
    chance: float | None
    scores: AnyScores


class TrainingObjective(Protocol):
    """What depends on a run's task."""

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step on a batch, of which `size` images are in all processes, comes to."""

    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return how good the model is, in evaluation mode and float32; the same in each process."""
