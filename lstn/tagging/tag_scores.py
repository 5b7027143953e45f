"""Scores of a model that tags: average precision of each label, whatever its threshold, and F1 at the threshold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lstn.contract import Contract
from lstn.data.objects import Objects
from lstn.evaluation.answer import Logits, Probabilities
from lstn.interval import Interval, ratio_interval
from lstn.tagging.tags import Tagged, has_tags, sigmoid, thresholds_of


class TaggedImages(NamedTuple):
    """Images whose labels are known, and what a model answers to them: truth (N, C) bool, logits (N, C) float32."""

    truth: Tagged
    logits: Logits


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well one label is given.

    images:    that have it
    given:     to how many images the model gives it; right: how many of these have it
    average_precision: 0..1; None where no image has it
    threshold: the probability from which on the model gives it
    """

    label: str
    images: int
    given: int
    right: int
    average_precision: float | None
    threshold: float

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall, 0..1; None where no image has it, nor is given it."""
        return 2 * self.right / (self.images + self.given) if self.images + self.given else None


@dataclass(frozen=True, slots=True)
class TagScores:
    """How well a model tags images whose labels are known.

    images, exact: how many there were, and how many got all of their labels and no other
    micro_f1: of all labels of all images together, in per cent
    labels:   in the order of the contract
    """

    images: int
    exact: int
    micro_f1: Interval
    labels: tuple[LabelScore, ...]

    @property
    def mean_average_precision(self) -> float:
        """The mean of the average precisions of labels that images have, 0..1; 0 where none has any."""
        return mean_of_known([each.average_precision for each in self.labels])

    @property
    def macro_f1(self) -> float:
        """The mean F1 of labels that images have, 0..1; 0 where none has any."""
        return mean_of_known([each.f1 for each in self.labels if each.images])

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "images": self.images,
            "exact": self.exact,
            "mean_average_precision": self.mean_average_precision,
            "macro_f1": self.macro_f1,
            "micro_f1": asdict(self.micro_f1),
            "labels": [asdict(each) | {"f1": each.f1} for each in self.labels],
        }

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"


def truth_of(known: Sequence[Objects], labels: int) -> Tagged:
    """Return which of so many labels each image has, (N, C): those of its objects, however many of each."""
    truth = np.zeros((len(known), labels), np.bool_)
    for has, objects in zip(truth, known, strict=True):
        has[objects.labels] = True
    return truth


def score_tags(answered: Sequence[TaggedImages], contract: Contract) -> TagScores:
    """Return what the answers to one image or more came to."""
    truth, logits = (np.concatenate(each) for each in zip(*answered, strict=True))
    probabilities, given = sigmoid(logits), has_tags(logits, contract)
    right = given & truth
    below = (given.sum(1) + truth.sum(1)).astype(np.float64)
    figures = zip(
        contract.labels,
        truth.sum(0).tolist(),
        given.sum(0).tolist(),
        right.sum(0).tolist(),
        average_precisions(probabilities, truth),
        thresholds_of(contract).tolist(),
        strict=True,
    )
    return TagScores(
        images=len(truth),
        exact=int((given == truth).all(1).sum()),
        micro_f1=_micro_f1(right, below),
        labels=tuple(LabelScore(*each) for each in figures),
    )


def _micro_f1(right: Tagged, below: npt.NDArray[np.float64]) -> Interval:
    """right: (N, C) labels that are given rightly; below: (N,), how many labels each image has and is given, summed."""
    if not below.any():
        return Interval(0.0, 0.0, 0.0)
    found = ratio_interval(200.0 * right.sum(1), below)
    return Interval(found.value, found.low, min(100.0, found.high))


def average_precisions(probabilities: Probabilities, truth: Tagged) -> list[float | None]:
    """Return the average precision of each label, 0..1: the sum over thresholds of precision times the step in recall.

    Images of one probability have one threshold. It is None where no image has the label.

    probabilities: (N, C) float32; truth: (N, C)
    """
    return [_average_precision(sure, has) for sure, has in zip(probabilities.T, truth.T, strict=True)]


def _average_precision(sure: npt.NDArray[np.float32], has: npt.NDArray[np.bool_]) -> float | None:
    if not has.any():
        return None
    order = np.argsort(-sure, kind="stable")
    ranked, right = sure[order], np.cumsum(has[order])
    last = np.append(ranked[:-1] != ranked[1:], True)  # of those with one probability
    right, count = right[last], np.flatnonzero(last) + 1
    return float((np.diff(right, prepend=0) * right / count).sum() / right[-1])


def mean_of_known(shares: Sequence[float | None]) -> float:
    """Return the mean of the shares that are known; 0 if none is."""
    known = [each for each in shares if each is not None]
    return float(np.mean(known)) if known else 0.0
