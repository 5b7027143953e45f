"""Scores of a generator: how like real pictures its own are, and whether it paints more than a few."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.health.generator_health import Variety
from lstn.images import Pixels
from lstn.interval import Interval
from lstn.synthesis.two_samples import FEWEST, Labels, told_apart
from lstn.warps.warp import Theta, landmarks_px

_FEW = 8
"""Pictures of a class that are compared with each other, and no class of fewer than 2 is."""


@dataclass(frozen=True, slots=True)
class GenerationScores:
    """What a generator's pictures came to, against as many real ones of the same classes.

    told_apart: how many a classifier tells from real ones, in per cent; 50 is chance (`lstn.synthesis.two_samples`);
                None of fewer than 8 pictures
    variety:    how different they are from each other
    """

    images: int
    told_apart: Interval | None
    variety: Variety

    @property
    def taken_for_real(self) -> float:
        """The share of pictures that pass for real ones, 0..1: twice the share of wrong answers of the classifier."""
        return 0.0 if self.told_apart is None else min(1.0, 2 * (1 - self.told_apart.value / 100))

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self) | {"taken_for_real": self.taken_for_real}

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict()) + "\n"


def score_pictures(
    real: Pixels, made: Pixels, labels: Labels, names: tuple[str, ...], theta: Theta | None
) -> GenerationScores:
    """Compare pictures that a generator made with real ones of the same classes.

    real, made: (N, H, W, 3) uint8 each; labels: (N,), of both; names: of the classes
    theta:      (N, 2, 3), where the objects were placed; None without a place
    """
    return GenerationScores(
        len(made),
        told_apart(real, made, labels) if len(made) >= FEWEST else None,
        variety(real, made, labels, names, theta),
    )


def variety(real: Pixels, made: Pixels, labels: Labels, names: tuple[str, ...], theta: Theta | None) -> Variety:
    """Return how different pictures are from each other; the arguments are those of `score_pictures`."""
    each: dict[str, float] = {}
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)[:_FEW]
        if len(members) > 1 and (wanted := _apart(real[members])) > 0:
            each[names[label]] = _apart(made[members]) / wanted
    least = min(each, key=lambda name: each[name], default="")
    return Variety(
        images=len(made),
        diversity=float(np.mean(list(each.values()))) if each else 1.0,
        least_diversity=each.get(least, 1.0),
        least_class=least,
        spread_px=None if theta is None else _spread(theta, (made.shape[1], made.shape[2])),
    )


def _apart(pixels: Pixels) -> float:
    """Return the root of the mean squared distance between two of (n, H, W, 3), n from 2 up, in gray levels."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float64)
    return float(np.sqrt(2 * flat.var(0, ddof=1).mean()))


def _spread(theta: Theta, image_hw: tuple[int, int]) -> float:
    corners: npt.NDArray[np.float64] = np.asarray(landmarks_px(theta, image_hw), np.float64)
    return float(np.sqrt(np.square(corners - corners.mean(0)).sum(2).mean()))
