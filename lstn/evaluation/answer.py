"""Logits -> what a person reads: probabilities, and the labels that lead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.errors import ArtifactError
from lstn.images import Pixels
from lstn.warps.warp import Theta

Logits: TypeAlias = npt.NDArray[np.float32]
"""(N, K) float32, one column per label, before softmax."""

Answers: TypeAlias = Callable[[Pixels], tuple[Logits, Theta | None]]
"""(N, H, W, 3) uint8 RGB -> logits (N, K) float32, and theta (N, …) float32 or None for a model without one."""

Probabilities: TypeAlias = npt.NDArray[np.float32]
"""(N, K) float32, each row from 0 to 1 and summing to 1."""


@dataclass(frozen=True, slots=True)
class Guess:
    """One label and its probability, 0..1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """What a model says of one image.

    labels:        all K labels, most probable first
    probabilities: of these labels, in the same order, 0..1, summing to 1
    theta:         float32, where the transformer looks; None for a model without one
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    theta: Theta | None

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """The probability of `label`, 0..1."""
        return self.probabilities[0]

    def __str__(self) -> str:
        """Return the label and its probability: `cat 97.3 %`."""
        return f"{self.label} {100 * self.probability:.1f} %"


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


def check_finite(answers: Sequence[npt.NDArray[np.float32] | None], numbers: Sequence[int]) -> None:
    """Refuse answers to these images that are not finite.

    Raises:
        ArtifactError: there is one.
    """
    if not all(each is None or np.isfinite(each).all() for each in answers):
        raise ArtifactError(
            f"the model's answers are not finite, first in images {numbers[0]} to {numbers[-1]}",
            hint="a lower precision may be too narrow for it; evaluate the float32 model",
        )
