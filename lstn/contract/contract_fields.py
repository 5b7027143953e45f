"""Fields of a contract, with the types and bounds that a file's must have; `Contract` says what each means."""

from dataclasses import dataclass

from lstn.contract.bounds import (
    ImageSide,
    Iterations,
    LabelNames,
    NoiseCount,
    Separator,
    ShortName,
    Temperature,
    Thresholds,
    Warps,
)
from lstn.contract.choices import At, Fit, Loc
from lstn.contract.tasks import Task
from lstn.contract.theta_forms import ThetaForm
from lstn.untrusted.checked_json import Finite, Positive

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class ContractFields:
    """What `lstn.contract.checks` looks at, and `Contract` carries."""

    loc: Loc
    backbone: ShortName
    image_hw: tuple[ImageSide, ImageSide]
    labels: LabelNames
    mean: tuple[Finite, Finite, Finite] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    theta: ThetaForm = ThetaForm.AFFINE
    iterations: Iterations = 1
    at: At = At.INPUT
    view_hw: tuple[ImageSide, ImageSide] | None = None
    crop_hw: tuple[ImageSide, ImageSide] | None = None
    warps: Warps = 1
    task: Task = Task.CLASSIFY
    temperature: Temperature = 1.0
    fit: Fit = Fit.STRETCH
    separator: Separator = ""
    noise: NoiseCount = 0
    thresholds: Thresholds = ()
