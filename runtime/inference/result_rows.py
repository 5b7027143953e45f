"""Rows: what became of each image, made of a prediction by the model's task."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.alignment.sentence_encoder import EncodedSentence
from lstn.alignment.word_regions import Vectors, located_words, sentence_score
from lstn.contract import Contract, Task
from lstn.detection.suppression import MOST_FOUND, Detection, detections
from lstn.evaluation.answer import Guess, leading, softmax
from lstn.images import Pixels
from lstn.runtime.engines.prediction import Prediction
from lstn.tagging.tags import tags_of
from lstn.transcription.transcripts import transcripts
from lstn.warps.warp import Theta

_NO_NUMBER = "the model's answer is not a number"


@dataclass(frozen=True, slots=True)
class SentenceFit:
    """How well a sentence fits an image: the score of `sentence_score`, which has no bounds."""

    sentence: str
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class ResultRow:
    """What became of one image: guesses, or objects of a model that detects, best first; or an error.

    Of a model that reads, the labels of guesses are whole texts.

    path:   the file, or the URL of an object
    theta:  float32, of the shape (2, 3), (3, 3) or (16, 2), or K of them, or None for a model without one
    pixels: (H, W, 3) uint8, what the engine saw, if rows keep it
    tags:   of a model that tags, the labels that the image has, most probable first; None for others
    objects: of a model that detects; None for others
    symbols: of the best text of a model that reads, in the order of reading, each where it is; of one that aligns, the
             words of the sentence, each where it fits best; None for others
    regions: (K, SPACE) float32, of a model that aligns, until a sentence is looked for
    fit:     of a model that aligns, how well the sentence fits
    rejected: the best guess is less probable than was asked for; it is no answer
    steady: of a frame of a video, theta steadied over time (`lstn.warps.steadying`)
    """

    path: Path | str
    guesses: tuple[Guess, ...] = ()
    theta: Theta | None = None
    pixels: Pixels | None = None
    error: str = ""
    objects: tuple[Detection, ...] | None = None
    rejected: bool = False
    steady: Theta | None = None
    symbols: tuple[Detection, ...] | None = None
    regions: Vectors | None = None
    fit: SentenceFit | None = None
    tags: tuple[Guess, ...] | None = None


RowOf: TypeAlias = Callable[[int, Path | str, Pixels | None], ResultRow]
"""Row of a batch, path and pixels -> what became of the image."""


def row_maker(prediction: Prediction, contract: Contract, top: int | None, least: float | None) -> RowOf:
    """Return what makes the rows of a batch of its prediction; top and least as for `predict`."""
    return _ANSWERS[contract.task](prediction, contract, top, least)


def _classified(prediction: Prediction, contract: Contract, top: int | None, least: float | None) -> RowOf:
    guesses = leading(softmax(prediction.logits), contract.labels, top=top or 1)
    finite = _finite(prediction)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        theta = None if prediction.theta is None else prediction.theta[row]
        if not finite[row]:
            return ResultRow(path, (), theta, pixels, _NO_NUMBER)
        return ResultRow(path, guesses[row], theta, pixels, rejected=guesses[row][0].probability < (least or 0.0))

    return row_of


def _tagged(prediction: Prediction, contract: Contract, top: int | None, least: float | None) -> RowOf:
    tags, finite = tags_of(prediction.logits, contract, least=least, most=top), _finite(prediction)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        theta = None if prediction.theta is None else prediction.theta[row]
        if not finite[row]:
            return ResultRow(path, (), theta, pixels, _NO_NUMBER)
        return ResultRow(path, (), theta, pixels, tags=tags[row])

    return row_of


def _detected(prediction: Prediction, contract: Contract, top: int | None, least: float | None) -> RowOf:
    theta, finite = prediction.theta, _finite(prediction)
    assert theta is not None  # a detector's contract has a localizer
    most = min(top or MOST_FOUND, MOST_FOUND)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        if not finite[row]:
            return ResultRow(path, pixels=pixels, error=_NO_NUMBER)
        found = detections(prediction.logits[row], theta[row], contract.labels, least=least or 0.0, most=most)
        return ResultRow(path, pixels=pixels, objects=found)

    return row_of


def _read(prediction: Prediction, contract: Contract, top: int | None, least: float | None) -> RowOf:
    theta, finite = prediction.theta, _finite(prediction)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        if not finite[row]:
            return ResultRow(path, pixels=pixels, error=_NO_NUMBER)
        places = None if theta is None else theta[row]
        labels, between = contract.labels, contract.separator
        texts = transcripts(prediction.logits[row], places, labels, top=top or 1, separator=between)
        guesses = tuple(Guess(text.text, text.probability) for text in texts)
        rejected = guesses[0].probability < (least or 0.0)
        return ResultRow(path, guesses, pixels=pixels, symbols=texts[0].symbols, rejected=rejected)

    return row_of


def _aligned(prediction: Prediction, contract: Contract, top: int | None, least: float | None) -> RowOf:
    theta, finite = prediction.theta, _finite(prediction)
    assert theta is not None  # such a contract has a localizer

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        if not finite[row]:
            return ResultRow(path, pixels=pixels, error=_NO_NUMBER)
        return ResultRow(path, theta=theta[row].copy(), pixels=pixels, regions=prediction.logits[row].copy())

    return row_of


def look_for(sentence: EncodedSentence, rows: Iterable[list[ResultRow]]) -> Iterator[list[ResultRow]]:
    """Yield the rows of a model that aligns with how well a sentence fits each image, and where its words are."""
    text = " ".join(sentence.words)
    for several in rows:
        yield [each if each.error else _looked_for(each, sentence, text) for each in several]


def _looked_for(row: ResultRow, sentence: EncodedSentence, text: str) -> ResultRow:
    assert row.regions is not None  # of a model that aligns
    assert row.theta is not None
    score = sentence_score(row.regions, sentence.vectors)
    words = located_words(sentence.words, sentence.vectors, row.regions, row.theta)
    return ResultRow(row.path, pixels=row.pixels, symbols=words, fit=SentenceFit(text, score))


_ANSWERS: dict[Task, Callable[[Prediction, Contract, int | None, float | None], RowOf]] = {
    Task.CLASSIFY: _classified,
    Task.TAG: _tagged,
    Task.DETECT: _detected,
    Task.READ: _read,
    Task.ALIGN: _aligned,
}
"""What a prediction says of each image. Total over `Task`, but GENERATE, which looks at none."""


def _finite(prediction: Prediction) -> npt.NDArray[np.bool_]:
    """(N,): whether all numbers of each image's answer are finite."""
    both = (each for each in (prediction.logits, prediction.theta) if each is not None)
    finite = [np.isfinite(each).reshape(len(each), -1).all(axis=1) for each in both]
    return np.asarray(np.logical_and.reduce(finite))
