"""Steps of a reader -> texts: the most probable ones, by a beam in NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lstn.detection.suppression import Detection
from lstn.evaluation.answer import Logits
from lstn.warps.quadrilaterals import Rectangle
from lstn.warps.warp import Theta

_ONE_PLACE = 0.5

_Logs = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Transcript:
    """A text that a model read in an image.

    probability: of the whole text with its end, 0..1: the product of its steps'
    symbols: each symbol with the probability of its step and where it is; empty for a model without a transformer
    """

    text: str
    probability: float
    symbols: tuple[Detection, ...] = ()

    def __str__(self) -> str:
        """Return the text and its probability: `4711 97.3 %`."""
        return f"{self.text} {100 * self.probability:.1f} %"


def transcripts(
    logits: Logits, theta: Theta | None, labels: tuple[str, ...], *, top: int = 1, separator: str = ""
) -> tuple[Transcript, ...]:
    """Return the `top` most probable texts of one image, best first, or all if they are fewer.

    A text ends at the first step that says so, or with the last step. Given the image, no step depends on what others
    answered. So a beam as wide as `top` is exact: of a text among the best, each beginning is among the best of its
    length.

    logits: (T, A + 1) float32, one column for each symbol and a last one for the end of the text; finite
    theta:  (T, 2, 3) float32, the crop of each symbol; None for a model without a transformer
    separator: what stands between the symbols, as the contract says it
    """
    logs = _log_softmax(logits.astype(np.float64))
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for step in logs:
        ended += [(log + step[-1], text) for log, text in beam]
        beam = _best(
            [(log + step[symbol], (*text, symbol)) for log, text in beam for symbol in range(len(labels))], top
        )
    return tuple(_transcript(log, text, logs, theta, labels, separator) for log, text in _best(ended + beam, top))


def symbols_in(text: str, separator: str) -> Sequence[str]:
    """Return the symbols of a text: its characters, or its words if a separator stands between them."""
    return text.split() if separator else text


def drawn_symbols(symbols: Sequence[Detection], separator: str) -> tuple[Detection, ...]:
    """Return what of a text is drawn: its symbols, and of words those that follow each other at one place as one.

    The upright boxes of the first of such words and of each other one overlap by half or more (intersection over
    union). They are as sure as the least sure of them.
    """
    if not separator:
        return tuple(symbols)
    drawn: list[Detection] = []
    for each in symbols:
        last = drawn[-1] if drawn else None
        if last is not None and _share(last.box, each.box) >= _ONE_PLACE:
            drawn[-1] = Detection(f"{last.label}{separator}{each.label}", min(last.score, each.score), last.theta)
        else:
            drawn.append(each)
    return tuple(drawn)


def _share(one: Rectangle, other: Rectangle) -> float:
    """Return the intersection over union of two upright boxes."""
    wide, high = (min(one[side + 2], other[side + 2]) - max(one[side], other[side]) for side in (0, 1))
    shared = max(0.0, wide) * max(0.0, high)
    areas = sum((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0


def _best(texts: list[tuple[float, tuple[int, ...]]], count: int) -> list[tuple[float, tuple[int, ...]]]:
    """Return the most probable; of equals, the shorter, and the first in the order of symbols."""
    return sorted(texts, key=lambda each: (-each[0], each[1]))[:count]


def _transcript(
    log: float, text: tuple[int, ...], logs: _Logs, theta: Theta | None, labels: tuple[str, ...], separator: str
) -> Transcript:
    symbols = () if theta is None else zip(text, logs, theta, strict=False)
    found = tuple(Detection(labels[symbol], float(np.exp(step[symbol])), place) for symbol, step, place in symbols)
    return Transcript(separator.join(labels[symbol] for symbol in text), float(np.exp(log)), found)


def _log_softmax(logits: _Logs) -> _Logs:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
