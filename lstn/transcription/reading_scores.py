"""Scores of a reader: how many texts and symbols it reads wrongly, and how well its crops fit the symbols."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lstn.contract import Contract
from lstn.data.objects import Objects
from lstn.evaluation.answer import Logits
from lstn.evaluation.scores import wilson
from lstn.interval import Interval, ratio_interval
from lstn.transcription.transcripts import Transcript, symbols_in, transcripts
from lstn.warps.quadrilaterals import overlaps
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True, eq=False)
class ReadText:
    """What a model read in an image whose text is known.

    overlaps: intersection over union of each step's crop and of the box of the symbol that it stands for, where both
              are known, 0..1
    separator: what stands between the symbols of both texts, as the contract says it
    """

    truth: str
    best: Transcript
    overlaps: tuple[float, ...]
    separator: str = ""

    @property
    def edits(self) -> int:
        """Symbols to insert, to leave out or to replace, at least, until the text is the true one."""
        return edit_distance(symbols_in(self.best.text, self.separator), symbols_in(self.truth, self.separator))

    @property
    def symbols(self) -> int:
        """How many the true text has."""
        return len(symbols_in(self.truth, self.separator))


@dataclass(frozen=True, slots=True)
class ReadingScores:
    """How well a reader reads images whose text is known.

    images, right: how many there were, and how many texts have no error
    symbols, edits: of the true texts; and how many have to be inserted, left out or replaced (Levenshtein 1966)
    text_error:   the share of texts with an error, in per cent
    symbol_error: edits over symbols, in per cent
    overlap:      the mean intersection over union of crops and boxes, 0..1, of `boxes` symbols; None of none
    """

    images: int
    right: int
    symbols: int
    edits: int
    text_error: Interval
    symbol_error: Interval
    overlap: float | None
    boxes: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict()) + "\n"


def score_text(truth: Objects, logits: Logits, theta: Theta | None, contract: Contract) -> ReadText:
    """Compare what a model answers for one image, logits (T, A + 1) and theta (T, 2, 3) or None, with its text.

    Of several texts that are all true of the image the nearest counts.
    """
    labels, between = contract.labels, contract.separator
    (best,) = transcripts(logits, theta, labels, separator=between)
    shared: tuple[float, ...] = ()
    if theta is not None:
        count = min(len(truth), len(theta))
        known = np.isfinite(truth.thetas[:count]).all(axis=(1, 2))
        pairs = zip(theta[:count][known], truth.thetas[:count][known], strict=True)
        shared = tuple(float(overlaps(one[None], other[None])[0, 0]) for one, other in pairs)
    texts = [between.join(labels[label] for label in each.tolist()) for each in (truth.labels, *truth.rewordings)]
    return min((ReadText(text, best, shared, between) for text in texts), key=lambda each: each.edits)


def score_texts(found: Sequence[ReadText]) -> ReadingScores:
    """Return what one text or more came to."""
    edits = np.array([each.edits for each in found], np.float64)
    symbols = np.array([each.symbols for each in found], np.float64)
    wrong = int((edits > 0).sum())
    shared = [share for each in found for share in each.overlaps]
    return ReadingScores(
        images=len(found),
        right=len(found) - wrong,
        symbols=int(symbols.sum()),
        edits=int(edits.sum()),
        text_error=wilson(wrong, len(found)),
        symbol_error=ratio_interval(100 * edits, symbols),
        overlap=float(np.mean(shared)) if shared else None,
        boxes=len(shared),
    )


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many symbols have to be inserted, left out or replaced, at least, to make one text the other."""
    row = list(range(len(other) + 1))
    for number, symbol in enumerate(one, 1):
        above, row = row, [number]
        for place, wanted in enumerate(other):
            row.append(min(above[place] + (symbol != wanted), above[place + 1] + 1, row[place] + 1))
    return row[-1]
