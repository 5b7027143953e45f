"""Confidence of a classifier: is it as often right as its probabilities say, and what does it gain by not answering?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.contract import TEMPERATURES
from lstn.evaluation.answer import Logits, softmax
from lstn.evaluation.scores import wilson
from lstn.interval import Interval
from lstn.report.charts import Point, scatter
from lstn.report.table import Table
from lstn.report.web_page import figure, section
from lstn.report.wording import counted

_Numbers = npt.NDArray[np.float64]

BINS = 15
"""Of equal width, as Guo et al. (2017) have them."""

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Probabilities below which answers may be rejected, in a table."""

FEWEST = 50
"""Images that a temperature is fitted to, and mistakes are expected among: fewer say too little."""

_STEPS = 60
"""Bisections: from 400 to far below what a float32 logit resolves."""


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """Probabilities of a model's answers, and which of them are right.

    sure:  (N,) float64, the probability of the most probable label, 0..1
    right: (N,) bool, whether it is the true one
    nll:   mean of minus the logarithm of the true label's probability, in nats
    """

    sure: _Numbers
    right: npt.NDArray[np.bool_]
    nll: float

    @property
    def error(self) -> float:
        """Return the expected calibration error, 0..1 (Guo et al. 2017, equation 3).

        It is the mean, over the images, of the difference between accuracy and mean probability in their bin.
        """
        counts, sure, right = self.bins()
        return float(np.abs(right - sure).sum() / max(1, counts.sum()))

    def bins(self) -> tuple[npt.NDArray[np.int64], _Numbers, _Numbers]:
        """Return, of each bin of probabilities, how many images it has, the sum of these, and how many are right."""
        numbers = np.minimum((self.sure * BINS).astype(np.int64), BINS - 1)
        counts = np.bincount(numbers, minlength=BINS)
        sums = (np.bincount(numbers, weights, BINS) for weights in (self.sure, self.right.astype(np.float64)))
        return counts, *sums  # type: ignore[return-value]

    def kept(self, least: float) -> tuple[int, int]:
        """Return how many answers have a probability of `least` or more, and how many of these are right."""
        above = self.sure >= least
        return int(above.sum()), int((above & self.right).sum())


class ConfidenceTally:
    """Collects what `Confidence` needs, batch by batch: two numbers an image."""

    def __init__(self) -> None:
        self._sure: list[_Numbers] = []
        self._right: list[npt.NDArray[np.bool_]] = []
        self._losses = 0.0

    def add(self, logits: Logits, truth: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Hear answers (N, K), finite, and the true labels (N,)."""
        labels = np.asarray(truth, np.int64)
        probabilities = softmax(logits).astype(np.float64)
        own = np.take_along_axis(probabilities, labels[:, None], axis=1)
        self._losses -= float(np.log(np.maximum(own, np.finfo(np.float32).tiny)).sum())
        self._sure.append(probabilities.max(axis=1))
        self._right.append(probabilities.argmax(axis=1) == labels)

    def confidence(self) -> Confidence:
        """Return what was heard so far; of at least one image."""
        sure, right = np.concatenate(self._sure), np.concatenate(self._right)
        return Confidence(sure, right, self._losses / len(sure))


def fit_temperature(logits: Logits, labels: Sequence[int] | npt.NDArray[np.int64]) -> float:
    """Return the temperature T for which softmax(logits / T) has the smallest cross-entropy (Guo et al. 2017).

    logits: (N, K) float32, finite; labels: (N,)

    It is 1 where nothing can be learned: of fewer than `FEWEST` images, of one class, or where all answers are right
    or all are wrong, so that more or less confidence alone would always be better. The cross-entropy is convex in
    1 / T. Its slope there is the mean of the expected logit minus the true one, and a bisection finds where it is 0.
    """
    truth = np.asarray(labels, np.int64)
    hits = logits.argmax(axis=1) == truth
    if len(truth) < FEWEST or logits.shape[1] < 2 or hits.all() or not hits.any():
        return 1.0
    exact = logits.astype(np.float64)
    own = np.take_along_axis(exact, truth[:, None], axis=1)[:, 0]

    def slope(cold: float) -> float:
        weights = np.exp(cold * (exact - exact.max(axis=1, keepdims=True)))
        return float(((weights * exact).sum(axis=1) / weights.sum(axis=1) - own).mean())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high


def confidence_table(confidence: Confidence) -> Table:
    """Return how far the probabilities are from the truth."""
    images = len(confidence.sure)
    rows = (
        ("right, %", f"{100 * confidence.right.mean():.2f}"),
        ("mean probability of the answer, %", f"{100 * confidence.sure.mean():.2f}"),
        ("expected calibration error, points", f"{100 * confidence.error:.2f}"),
        ("cross-entropy, nats", f"{confidence.nll:.4f}"),
    )
    note = (
        f"{counted(images, 'image')}. Expected calibration error: the mean difference between the share of right "
        f"answers and their mean probability, in {BINS} bins of it."
    )
    return Table("Confidence", ("", "figure"), rows, 1, note)


def rejection_table(confidence: Confidence, reject_below: float | None = None) -> Table:
    """Return what remains, and how often it is wrong, where answers below a probability are rejected.

    reject_below: one that is shown too
    """
    rows = tuple(_rejected(confidence, each) for each in (0.0, *_thresholds(reject_below)))
    note = "Answered: the share of the images that is not rejected. The interval is of the errors among these."
    return Table("Answers below a probability rejected", ("below", "answered %", "wrong %", "95 %"), rows, 1, note)


def reliability_section(confidence: Confidence) -> str:
    """Return the reliability diagram as a part of a page: accuracy against probability, in bins."""
    counts, sure, right = confidence.bins()
    points = [
        Point(100 * sure[each] / counts[each], wilson(right[each], int(counts[each])), "lstn", "")
        for each in np.flatnonzero(counts).tolist()
    ]
    ideal = Point(100, Interval(100, 100, 100), "none", "")
    chart = scatter(points, x_title="probability, %", y_title="right, %", along=ideal)
    told = "Bars are 95 % intervals. On the dashed line, a model that says 80 % is right in 80 % of such answers."
    return section("Reliability", f'<div class="pictures">{figure(chart, told)}</div>')


def confidence_report(confidence: Confidence, reject_below: float | None = None) -> dict[str, Any]:
    """Return all of it for JSON; probabilities and shares 0..1."""
    counts, sure, right = confidence.bins()
    bins = [
        {"images": int(count), "probability": each / count, "right": hits / count}
        for count, each, hits in zip(counts.tolist(), sure.tolist(), right.tolist(), strict=True)
        if count
    ]
    thresholds = [{"below": each, **_kept(confidence, each)} for each in _thresholds(reject_below)]
    figures = {"mean_probability": float(confidence.sure.mean()), "nll": confidence.nll}
    return {"expected_calibration_error": confidence.error, **figures, "bins": bins, "rejected": thresholds}


def _thresholds(reject_below: float | None) -> list[float]:
    return sorted({*THRESHOLDS, *([reject_below] if reject_below else [])})


def _kept(confidence: Confidence, least: float) -> dict[str, float | None]:
    answered, right = confidence.kept(least)
    return {"answered": answered / len(confidence.sure), "wrong": 1 - right / answered if answered else None}


def _rejected(confidence: Confidence, least: float) -> tuple[str, ...]:
    answered, right = confidence.kept(least)
    share = f"{100 * answered / len(confidence.sure):.1f}"
    if not answered:
        return f"{least:g}", share, "", ""
    wrong = wilson(answered - right, answered)
    return f"{least:g}" if least else "none", share, f"{wrong.value:.2f}", f"{wrong.low:.2f} to {wrong.high:.2f}"
