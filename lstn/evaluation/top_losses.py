"""Images that a model is most wrongly sure of: wrong answers, ranked by the loss of their true label."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstn.data.splits import Split
from lstn.evaluation.answer import Logits, softmax
from lstn.report.table import Table
from lstn.report.web_page import section, strip

_TITLE = "Largest losses among the wrong answers"

LEAST = 1e-12
"""The smallest probability that a loss is computed of: about 28 is the largest loss."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer.

    image:       its number in the split
    truth:       index of the true label
    label:       index of the most probable one, and its probability
    loss:        minus the logarithm of the true label's probability
    """

    image: int
    truth: int
    label: int
    probability: float
    loss: float


class LossRanking:
    """The wrong answers with the largest losses, of all that were heard; at most `most` of them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.mistakes: list[Mistake] = []

    def add(self, numbers: Sequence[int], logits: Logits, truth: Sequence[int]) -> None:
        """Hear the answers (N, K) to the images of these numbers, and their true labels."""
        shares, labels = softmax(logits), logits.argmax(1)
        for row in np.flatnonzero(labels != np.asarray(truth)).tolist():
            right, label = float(shares[row, truth[row]]), int(labels[row])
            loss = -float(np.log(max(right, LEAST)))
            self.mistakes.append(Mistake(numbers[row], truth[row], label, float(shares[row, label]), loss))
        self.mistakes.sort(key=lambda each: (-each.loss, each.image))
        del self.mistakes[self.most :]


@dataclass(frozen=True, slots=True)
class ShownMistake:
    """A mistake as a report shows it.

    name:    of the image: its file, or its number in the set
    truth, answer: the labels' names
    picture: PNG
    figures: what JSON says of its explanation
    """

    mistake: Mistake
    name: str
    truth: str
    answer: str
    picture: bytes
    figures: dict[str, Any] = field(default_factory=dict)


def image_name(images: Split, number: int) -> str:
    """Return what a report calls an image: its file if it has one, and else its number."""
    files = getattr(images, "files", None)
    return f"image {number}" if files is None else str(files[number][0])


def mistakes_table(shown: Sequence[ShownMistake]) -> Table:
    """Return a row for each mistake, the largest loss first."""
    rows = tuple(
        (each.name, each.truth, each.answer, f"{100 * each.mistake.probability:.1f}", f"{each.mistake.loss:.2f}")
        for each in shown
    )
    columns = ("image", "true label", "answer", "sure by %", "loss")
    note = "Loss: minus the logarithm of the true label's probability."
    return Table(_TITLE, columns, rows, 3, note)


def mistakes_section(shown: Sequence[ShownMistake]) -> str:
    """Return the mistakes with their pictures, as a part of a page."""
    drawn = []
    for each in shown:
        data = base64.b64encode(each.picture).decode()
        told = (
            f"{each.name}: {each.truth}, taken for {each.answer} with {100 * each.mistake.probability:.1f} %; "
            f"loss {each.mistake.loss:.2f}."
        )
        drawn.append(strip(f"data:image/png;base64,{data}", told))
    note = (
        '<p class="note">Orange: covering this part lowers the probability of the wrong answer, or moves the warp.</p>'
    )
    return section(_TITLE, note + "".join(drawn))


def mistakes_report(shown: Sequence[ShownMistake]) -> list[dict[str, Any]]:
    """Return the mistakes for JSON."""
    return [
        {
            "image": each.mistake.image,
            "name": each.name,
            "truth": each.truth,
            "loss": round(each.mistake.loss, 4),
            **each.figures,
        }
        for each in shown
    ]
