"""Scores, counted batch by batch: accuracies, a row for each class, and the worst confusions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.interval import Interval
from lstn.report.table import Table

Counts: TypeAlias = npt.NDArray[np.int64]

TOP = 5

WORST = 5
"""Classes that a terminal shows, and pairs of them."""

_Z = 1.959964  # of 95 %


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a model's answers to labelled images came to.

    cells: (P, 3) int64: true class, predicted class and how many images; sorted, and none without an image, so that
           ten thousand classes take no more than their images do
    top5:  images whose label is among the five highest logits
    """

    labels: tuple[str, ...]
    cells: Counts
    top5: int

    @staticmethod
    def of(labels: tuple[str, ...], counts: Counts, top5: int) -> "Scores":
        """Return the scores that (K, K) counts, true class by row and predicted class by column, stand for."""
        return Scores(labels, np.column_stack([*np.nonzero(counts), counts[np.nonzero(counts)]]), top5)

    @property
    def images(self) -> int:
        """Return how many images were answered."""
        return int(self.cells[:, 2].sum())

    @property
    def right(self) -> int:
        """Return how many were answered rightly."""
        return int(self._hits().sum())

    @property
    def top1_share(self) -> float:
        """Return the accuracy, 0..1."""
        return self.right / self.images

    @property
    def top5_share(self) -> float:
        """Return the share of images whose label is among the five highest logits, 0..1."""
        return self.top5 / self.images

    @property
    def asked(self) -> Counts:
        """Return (K,): how many images each class has."""
        return self._per_class(self.cells[:, 0], self.cells[:, 2])

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Return (K,): of a class's images, the share that was recognised; NaN where there is none."""
        return _shares(self._hits(), self.asked)

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Return (K,): of the images taken for a class, the share that is of it; NaN where there is none."""
        return _shares(self._hits(), self._per_class(self.cells[:, 1], self.cells[:, 2]))

    def rivals(self) -> dict[int, tuple[int, int]]:
        """Return, of each class with a mistake, what it was mostly taken for, and how many of its images were."""
        found: dict[int, tuple[int, int]] = {}
        for row, column, count in self._mistakes().tolist():
            found.setdefault(row, (column, count))
        return found

    def confusions(self, most: int) -> list[tuple[str, str, int]]:
        """Return up to `most` pairs of a class and what it was taken for, with the images, most images first."""
        return [(self.labels[row], self.labels[column], count) for row, column, count in
                self._mistakes()[:most].tolist()]  # fmt: skip

    def shares(self, side: int) -> npt.NDArray[np.float64]:
        """Return (n, n), n at most `side`: of a class's images, by row, the shares taken for each class, by column.

        Of more classes, as many neighbours as it takes are one row and one column.
        """
        step = -(-len(self.labels) // side)
        blocks = -(-len(self.labels) // step)
        counts = np.zeros((blocks, blocks))
        np.add.at(counts, (self.cells[:, 0] // step, self.cells[:, 1] // step), self.cells[:, 2])
        return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON; shares 0..1, null where there is no image to take a share of.

        `confusion_cells` has [true class, predicted class, images], classes as numbers from 0, where there are any.
        """
        rows = zip(self.labels, self.asked.tolist(), self.recall, self.precision, strict=True)
        return {
            "images": self.images,
            "top1": self.top1_share,
            "top5": self.top5_share,
            "classes": [
                {"label": label, "images": asked, "recall": _or_none(recall), "precision": _or_none(precision)}
                for label, asked, recall, precision in rows
            ],
            "confusion_cells": self.cells.tolist(),
        }

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"

    def _hits(self) -> Counts:
        right = self.cells[self.cells[:, 0] == self.cells[:, 1]]
        return self._per_class(right[:, 0], right[:, 2])

    def _per_class(self, classes: Counts, counts: Counts) -> Counts:
        total = np.zeros(len(self.labels), np.int64)
        np.add.at(total, classes, counts)
        return total

    def _mistakes(self) -> Counts:
        """Return the cells of wrong answers, most images first."""
        wrong = self.cells[self.cells[:, 0] != self.cells[:, 1]]
        return np.asarray(wrong[np.argsort(-wrong[:, 2], kind="stable")])


class Tally:
    """Counts answers batch by batch.

    answers: (N, 2) int64 for each batch: true class and predicted class
    top5:    images whose label is among the five highest logits
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self.answers: list[Counts] = []
        self.top5 = 0

    def add(self, logits: npt.NDArray[np.float32], labels: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Count logits (N, K) float32 against labels (N,). Of equal logits the first class counts; NaN never leads."""
        truth = np.asarray(labels, np.int64)
        clean = np.where(np.isnan(logits), -np.inf, logits)
        own = np.take_along_axis(clean, truth[:, None], axis=1)
        before = np.arange(clean.shape[1]) < truth[:, None]
        ahead = ((clean > own) | ((clean == own) & before)).sum(axis=1)
        self.answers.append(np.column_stack([truth, clean.argmax(axis=1)]))
        self.top5 += int((ahead < TOP).sum())

    def merge(self, others: Sequence["Tally"]) -> None:
        """Count what `others`, in other processes, have counted too."""
        for other in others:
            self.answers += other.answers
            self.top5 += other.top5

    def scores(self) -> Scores:
        """Return what was counted so far."""
        answers = np.concatenate(self.answers) if self.answers else np.empty((0, 2), np.int64)
        pairs, counts = np.unique(answers, axis=0, return_counts=True)
        return Scores(self._labels, np.column_stack([pairs, counts]), self.top5)


def wilson(right: float, images: int) -> Interval:
    """Return an accuracy in per cent and its 95 % interval (Wilson 1927), which holds near 0 and 100 % too.

    right: images, or the sum of a share of each, which varies less: the interval is then too wide
    """
    share, spread = right / images, _Z**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * np.sqrt(share * (1 - share) / images + spread / images / 4) / (1 + spread)
    return Interval(100 * share, float(100 * max(0.0, middle - half)), float(100 * min(1.0, middle + half)))


def class_table(scores: Scores, most: int | None = None) -> Table:
    """Return a row for each class, worst recall first and classes without an image last; `most` leaves out the rest."""
    recall, precision, asked, rivals = scores.recall, scores.precision, scores.asked, scores.rivals()
    order = np.argsort(np.nan_to_num(recall, nan=2.0), kind="stable")[:most].tolist()
    rows = []
    for index in order:
        column, count = rivals.get(index, (0, 0))
        rival = f"{scores.labels[column]} ({count})" if count else ""
        rows.append(
            (scores.labels[index], rival, str(asked[index]), _percent(recall[index]), _percent(precision[index]))
        )
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
