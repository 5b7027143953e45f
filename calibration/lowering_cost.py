"""Cost of a lowered model against its float32 one, as one value."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.calibration.noise import LayerNoise
from lstn.contract import Contract
from lstn.images import Pixels
from lstn.warps.warp import Theta

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Shares of the images, 0..1, that each model puts right."""

    reference: float
    lowered: float


@dataclass(frozen=True, slots=True)
class LogitDifference:
    """Absolute, over all images and classes."""

    mean: float
    largest: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Over the images: how far the corner of the sampled quadrilateral that moved most did, in pixels of the input."""

    mean_px: float
    p99_px: float
    max_px: float


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


@dataclass(frozen=True, slots=True, eq=False)
class LoweringCost:
    """What a lowered model costs against its float32 one. What concerns the warp is None without a transformer.

    split_size:   how many images there were to choose from
    top5:         None with fewer than 6 classes
    agreement:    share of the images that both put into the same class, 0..1
    layers:       in order of computation; from `noise_images` of the images
    worst:        by drift, or else by logit difference, the worst first
    warnings:     what makes these figures weaker than they look
    """

    contract: Contract
    images: int
    split_size: int
    top1: Accuracy
    top5: Accuracy | None
    agreement: float
    logit_difference: LogitDifference
    drift: Drift | None
    changed: Changed | None
    layers: tuple[LayerNoise, ...]
    noise_images: int
    per_image: PerImage
    worst: tuple[BadCase, ...]
    warnings: tuple[str, ...]
