"""Labels that a model doubts: images that may be mislabelled (confident learning, Northcutt et al. 2021)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lstn.evaluation.answer import Logits, softmax


@dataclass(frozen=True, slots=True)
class DoubtedLabel:
    """An image whose label a model doubts. answer: what it says instead, and how probable that and the label are."""

    image: int
    answer: int
    probability: float
    of_label: float


def doubted_labels(logits: Logits, labels: npt.NDArray[np.int64]) -> list[DoubtedLabel]:
    """Return the images that are counted to another class than their label's, most doubtful first.

    logits: (N, K); labels: (N,)

    An image is counted to a class if its probability is at least the mean one of that class's own images; of several
    classes, to the most probable one (Northcutt et al. 2021, equation 1). So a class that the model is never sure of
    is not doubted as a whole.
    """
    shares = softmax(logits).astype(np.float64)
    own = shares[np.arange(len(labels)), labels]
    threshold = np.full(shares.shape[1], np.inf)
    for label in np.unique(labels):
        threshold[label] = own[labels == label].mean()
    counted = np.where(shares >= threshold, shares, -1.0)
    answers = counted.argmax(axis=1)
    doubted = np.flatnonzero((counted.max(axis=1) >= 0) & (answers != labels))
    order = doubted[np.argsort(own[doubted] - shares[doubted, answers[doubted]], kind="stable")]
    return [
        DoubtedLabel(index, int(answers[index]), float(shares[index, answers[index]]), float(own[index]))
        for index in order.tolist()
    ]
