"""Logits -> what a person reads: probabilities, and the labels that lead."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.runtime.engines.base import Logits

Probabilities: TypeAlias = npt.NDArray[np.float32]
"""(N, K) float32, each row from 0 to 1 and summing to 1."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One label and its probability, 0..1."""

    label: str
    probability: float


def softmax(logits: Logits) -> Probabilities:
    """(N, K) float32 -> (N, K) float32 probabilities. A row that holds NaN or +inf comes back as NaN."""
    # inf - inf is for the caller to report; a difference beyond float32 is -inf, whose weight is 0 as it should be.
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        weights = np.exp(shifted)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def leading(probabilities: Probabilities, labels: tuple[str, ...], *, top: int) -> list[tuple[Guess, ...]]:
    """(N, K) -> for each row its `top` most probable labels, or all K if they are fewer; of equals, the first label."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        tuple(Guess(labels[column], float(row[column])) for column in columns)
        for row, columns in zip(probabilities, order, strict=True)
    ]
