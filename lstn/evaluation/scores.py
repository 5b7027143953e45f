"""How good answers are: counted as they come in, told as accuracies, a row for each class and the worst confusions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.interval import Interval
from lstn.report.table import Table

Counts: TypeAlias = npt.NDArray[np.int64]
"""(K, K): images of the row's class that were taken for the column's."""

TOP = 5

WORST = 5
"""Classes that a terminal shows, and pairs of them."""

_Z = 1.959964  # of 95 %


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a model's answers to labelled images came to.

    counts: (K, K) int64, true class by row and predicted class by column
    top5:   images whose label is among the five highest logits
    """

    labels: tuple[str, ...]
    counts: Counts
    top5: int

    @property
    def images(self) -> int:
        """Return how many images were answered."""
        return int(self.counts.sum())

    @property
    def right(self) -> int:
        """Return how many were answered rightly."""
        return int(np.trace(self.counts))

    @property
    def top1_share(self) -> float:
        """Return the accuracy, 0..1."""
        return self.right / self.images

    @property
    def top5_share(self) -> float:
        """Return the share of images whose label is among the five highest logits, 0..1."""
        return self.top5 / self.images

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Return (K,): of a class's images, the share that was recognised; NaN where there is none."""
        return _shares(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Return (K,): of the images taken for a class, the share that is of it; NaN where there is none."""
        return _shares(np.diag(self.counts), self.counts.sum(axis=0))

    def confusions(self, most: int) -> list[tuple[str, str, int]]:
        """Return up to `most` pairs of a class and what it was taken for, with the images, most images first."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
        return [(self.labels[row], self.labels[column], int(wrong[row, column])) for row, column in places if
                wrong[row, column]]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON; shares 0..1, null where there is no image to take a share of."""
        return {
            "images": self.images,
            "top1": self.top1_share,
            "top5": self.top5_share,
            "classes": [
                {"label": label, "images": int(row.sum()), "recall": _or_none(recall), "precision": _or_none(precision)}
                for label, row, recall, precision in zip(
                    self.labels, self.counts, self.recall, self.precision, strict=True
                )
            ],
            "confusion": self.counts.tolist(),
        }

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"


class Tally:
    """Counts answers batch by batch.

    figures: (K * K + 1,) int64, the counts row by row and then top-5, which several processes may add up
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self.figures = np.zeros(len(labels) ** 2 + 1, np.int64)

    def add(self, logits: npt.NDArray[np.float32], labels: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Count logits (N, K) float32 against labels (N,). Of equal logits the first class counts; NaN never leads."""
        truth = np.asarray(labels, np.int64)
        order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
        np.add.at(self.figures, truth * len(self._labels) + order[:, 0], 1)
        self.figures[-1] += (order == truth[:, None]).any(axis=1).sum()

    def scores(self) -> Scores:
        """Return what was counted so far."""
        classes = len(self._labels)
        return Scores(self._labels, self.figures[:-1].reshape(classes, classes).copy(), int(self.figures[-1]))


def wilson(right: int, images: int) -> Interval:
    """Return an accuracy in per cent and its 95 % interval (Wilson 1927), which holds near 0 and 100 % too."""
    share, spread = right / images, _Z**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * np.sqrt(share * (1 - share) / images + spread / images / 4) / (1 + spread)
    return Interval(100 * share, float(100 * max(0.0, middle - half)), float(100 * min(1.0, middle + half)))


def class_table(scores: Scores, most: int | None = None) -> Table:
    """Return a row for each class, worst recall first and classes without an image last; `most` leaves out the rest."""
    order = np.argsort(np.nan_to_num(scores.recall, nan=2.0), kind="stable")[:most]
    rows = []
    for index in order:
        taken = np.where(np.arange(len(scores.labels)) == index, 0, scores.counts[index])
        rival = f"{scores.labels[int(taken.argmax())]} ({taken.max()})" if taken.any() else ""
        figures = (str(scores.counts[index].sum()), _percent(scores.recall[index]), _percent(scores.precision[index]))
        rows.append((scores.labels[index], rival, *figures))
    left_out = len(scores.labels) - len(rows)
    note = "Recall: of its images, how many are recognised. Precision: of those taken for it, how many are."
    if left_out:
        note = f"{left_out} better classes are left out."
    title = "Every class, worst first" if not left_out else f"The {len(rows)} worst classes"
    return Table(title, ("class", "mostly taken for", "images", "recall %", "precision %"), tuple(rows), 2, note)


def confusion_table(scores: Scores, most: int) -> Table:
    """Return the most frequent confusions."""
    rows = tuple((truth, taken, str(count)) for truth, taken, count in scores.confusions(most))
    return Table("Worst confusions", ("class", "taken for", "images"), rows, 2)


def _shares(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.1f}"


def _or_none(share: float) -> float | None:
    return None if np.isnan(share) else float(share)
