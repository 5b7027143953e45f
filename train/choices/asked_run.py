"""A run as a user asks for it, before recipe, task and data set choose the rest."""

from dataclasses import dataclass
from pathlib import Path

from lstn.contract import At, Fit, Loc, Task
from lstn.train.batches.augment import Augment
from lstn.train.runs.options import Size, TrainingPrecision


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """Sizes that a user asks for; None leaves the image's to the data set, and the others as in `Options`.

    fit: how a photo becomes an image of that size
    """

    image: Size | None = None
    view: Size | None = None
    crop: Size | None = None
    fit: Fit = Fit.STRETCH


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenNetwork:
    """What is trained, as in `Options`; of warps None is one, or what a detector usually has."""

    loc: Loc
    model: str
    weights: str = ""
    iterations: int = 1
    at: At = At.INPUT
    warps: int | None = None
    sizes: NetworkSizes = NetworkSizes()
    task: Task = Task.CLASSIFY


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a model is shown beside the labels: the weight of true poses, and the run or file of a teacher.

    supervise: None: none, but of a reader 1, where the set knows where symbols are
    """

    supervise: float | None = None
    teacher: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a model is trained on, as in `Options`; of epochs None are as many as the data set chooses.

    data: as a run keeps it (`lstn.data.dataset.named`)
    """

    data: str
    augment: Augment
    epochs: int | None
    precision: TrainingPrecision
    seed: int = 0
    guide: Guidance = Guidance()
