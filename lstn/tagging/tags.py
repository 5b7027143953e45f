"""Logits -> tags: the labels that an image has, each with its probability."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import Contract
from lstn.evaluation.answer import Guess, Logits, Probabilities

HALF = 0.5
"""The probability from which on an image has a label, where the contract says no other."""

Tagged: TypeAlias = npt.NDArray[np.bool_]
"""(N, C), which labels images have."""


def sigmoid(logits: Logits) -> Probabilities:
    """(N, C) float32 -> (N, C) float32, the probability of each label by itself, 0..1; NaN stays NaN."""
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and 1 / infinity is 0 as it should be
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def thresholds_of(contract: Contract) -> Probabilities:
    """Return from which probability on an image has each label, (C,) float32."""
    return np.array(contract.thresholds or [HALF] * len(contract.labels), np.float32)


def has_tags(logits: Logits, contract: Contract) -> Tagged:
    """(N, C) float32 -> (N, C): which labels each image has, by the thresholds of the contract."""
    return np.asarray(sigmoid(logits) >= thresholds_of(contract))


def tags_of(
    logits: Logits, contract: Contract, *, least: float | None = None, most: int | None = None
) -> list[tuple[Guess, ...]]:
    """(N, C) float32, finite -> the labels that each image has, none or several, the most probable first.

    least: the lowest probability of a label, 0..1; None: the threshold of each
    most:  how many at most; None: all
    """
    probabilities = sigmoid(logits)
    there = probabilities >= (thresholds_of(contract) if least is None else np.float32(least))
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return [
        tuple(Guess(contract.labels[place], float(row[place])) for place in [at for at in places if has[at]][:most])
        for row, has, places in zip(probabilities, there, order, strict=True)
    ]
