"""Cost of a lowered model against its float32 one, as one value: of a classifier, or of a detector."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.calibration.cost.noise import LayerNoise
from lstn.contract import Contract
from lstn.detection.suppression import Detection
from lstn.images import Pixels
from lstn.warps.warp import Theta

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good each model is, 0..1: the share of images that it puts right, or its average precision."""

    reference: float
    lowered: float


@dataclass(frozen=True, slots=True)
class LogitDifference:
    """Absolute, over all images and classes; of a detector, over the regions that both have."""

    mean: float
    largest: float


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the corner of a sampled quadrilateral that moved most did, in pixels of the input: over the images, or
    over what a detector finds."""

    mean_px: float
    p99_px: float
    max_px: float

    @classmethod
    def of(cls, drift_px: Floats) -> "Drift":
        """Return what drifts (N,), one or more, come to."""
        return cls(float(drift_px.mean()), float(np.percentile(drift_px, 99)), float(drift_px.max()))


@dataclass(frozen=True, slots=True)
class Changed:
    """Shares of the images, 0..1, whose prediction is another than float32's.

    warp:     by the lowered model's theta in front of the float32 backbone
    backbone: by the lowered backbone behind the float32 model's theta
    """

    warp: float
    backbone: float


@dataclass(frozen=True, slots=True, eq=False)
class PerImage:
    """One entry for each image; classes as numbers, in the order of the contract's labels.

    index: (N,) int64 places in the split; label, reference, lowered: (N,) int64, what is right and what each predicts
    logit_difference: (N,) float64, the largest; drift_px: (N,) float64, None without a transformer
    """

    index: Ints
    label: Ints
    reference: Ints
    lowered: Ints
    logit_difference: Floats
    drift_px: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class BadCase:
    """An image that lower precision moved far: pixels (H, W, 3) uint8, and where each model looked, float32.

    place: which entry of `PerImage` it is
    """

    place: int
    pixels: Pixels
    reference_theta: Theta | None
    lowered_theta: Theta | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoweringCost(ABC):
    """What a lowered model costs against its float32 one, whatever it answers.

    split_size:   how many images there were to choose from
    agreement:    share of the answers that both give, 0..1
    drift:        None without a transformer, or where float32 finds nothing
    layers:       in order of computation; from `noise_images` of the images
    warnings:     what makes these figures weaker than they look
    """

    contract: Contract
    images: int
    split_size: int
    agreement: float
    logit_difference: LogitDifference
    drift: Drift | None
    layers: tuple[LayerNoise, ...]
    noise_images: int
    warnings: tuple[str, ...]

    @property
    @abstractmethod
    def scores(self) -> dict[str, Accuracy]:
        """How good both models are, by what tables call it; the first is what a limit is for."""

    @property
    @abstractmethod
    def judged(self) -> int:
        """How many images or objects decide what a model is worth."""


@dataclass(frozen=True, slots=True)
class CalibrationErrors:
    """Expected calibration errors, 0..1 (`lstn.evaluation.confidence`): of float32, of the lowered model as it is, and
    with the temperature that fits it best on the same images. temperature: this one over float32's"""

    reference: float
    lowered: float
    fitted: float
    temperature: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClassifierCost(LoweringCost):
    """What a lowered classifier costs: the answers that agree are images in the same class.

    top5:    None with fewer than 6 classes
    errors:  of the probabilities
    changed: None without a transformer
    worst:   by drift, or else by logit difference, the worst first
    """

    top1: Accuracy
    top5: Accuracy | None
    errors: CalibrationErrors
    changed: Changed | None
    per_image: PerImage
    worst: tuple[BadCase, ...]

    @property
    def scores(self) -> dict[str, Accuracy]:
        """Top-1, and top-5 if there is one."""
        return {"top-1": self.top1} | ({} if self.top5 is None else {"top-5": self.top5})

    @property
    def judged(self) -> int:
        """The images."""
        return self.images


@dataclass(frozen=True, slots=True)
class PrecisionPair:
    """Average precision of both models: over overlaps of 0.5 to 0.95, and at 0.5."""

    ap: Accuracy
    ap50: Accuracy


@dataclass(frozen=True, slots=True)
class ShownObjects:
    """How many objects each model finds in all images, and how many of these are the same ones."""

    reference: int
    lowered: int
    both: int


@dataclass(frozen=True, slots=True, eq=False)
class PerScene:
    """One entry for each image of a detector's.

    index: (N,) int64 places in the split; objects, reference, lowered, both: (N,) int64, how many there are, how many
           each model finds, and how many of these are the same ones
    logit_difference, drift_px: (N,) float64, the largest: of the regions that both have, of what float32 finds; 0
           without any
    """

    index: Ints
    objects: Ints
    reference: Ints
    lowered: Ints
    both: Ints
    logit_difference: Floats
    drift_px: Floats


@dataclass(frozen=True, slots=True, eq=False)
class BadScene:
    """An image in which lower precision finds other objects: pixels (H, W, 3) uint8, and what each model finds.

    place: which entry of `PerScene` it is
    """

    place: int
    pixels: Pixels
    reference: tuple[Detection, ...]
    lowered: tuple[Detection, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DetectorCost(LoweringCost):
    """What a lowered detector costs. The answers that agree are objects of a score that is shown: of those that either
    model finds, the share that both find, as the same class and overlapping by a half or more.

    objects: that are there
    turned:  None where boxes are upright
    drift:   of what float32 finds: how far the nearest region of the lowered model lies
    regions: share of float32's regions that the lowered model has too, overlapping by a half or more, 0..1; the logit
             difference is theirs
    region_drift: of every region of float32, found or not: how far the nearest one lies
    worst:   by the objects that only one model finds, then by drift, the worst first
    """

    objects: int
    upright: PrecisionPair
    turned: PrecisionPair | None
    shown: ShownObjects
    regions: float
    region_drift: Drift
    per_image: PerScene
    worst: tuple[BadScene, ...]

    @property
    def scores(self) -> dict[str, Accuracy]:
        """AP and AP50, of turned boxes first if boxes may be turned."""
        pairs = {"turned": self.turned, "upright": self.upright}
        return {
            f"{name}, {kind} boxes": accuracy
            for kind, pair in pairs.items()
            if pair is not None
            for name, accuracy in (("AP", pair.ap), ("AP50", pair.ap50))
        }

    @property
    def judged(self) -> int:
        """The objects."""
        return self.objects
