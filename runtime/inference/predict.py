"""Images -> answers, in order: threads decode into the engine's slots, and it computes one that is full meanwhile."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.alignment.sentence_encoder import EncodedSentence
from lstn.alignment.word_regions import Vectors, located_words, sentence_score
from lstn.contract import Contract, Loc, Task, check_task
from lstn.detection.suppression import MOST_FOUND, SHOWN_SCORE, Detection, detections
from lstn.errors import UsageError
from lstn.evaluation.answer import Guess, leading, softmax
from lstn.images import USUAL, DecodeLimits, Pixels
from lstn.machine.memory import batch_of
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import Slot, Slots
from lstn.runtime.inference.decoding import DecodedBatch, Decoders
from lstn.transcription.transcripts import transcripts
from lstn.warps.warp import Theta

_USUAL_BATCH = 32

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


def least_sure(contract: Contract, score: float | None, reject_below: float | None) -> float:
    """Return how sure an answer has to be, 0..1: the score of an object, or the probability of a label or a text.

    score, reject_below: `--score` and `--reject-below`, as far as they were given

    Raises:
        UsageError: the one that was given is for models of the other task.
    """
    if score is not None:
        check_task(contract.task, Task.DETECT, "--score", hint="use --reject-below")
    if reject_below is not None and contract.task is Task.DETECT:
        check_task(contract.task, Task.CLASSIFY, "--reject-below", hint="use --score")
    if contract.task is Task.DETECT:
        return SHOWN_SCORE if score is None else score
    return reject_below or 0.0


def batch_size(wanted: int | None, contract: Contract, max_batch: int, engine: Path) -> int:
    """Return how many images a call of the engine is given: `wanted`, or as many as it takes and memory holds.

    Raises:
        UsageError: it takes fewer than `wanted`.
    """
    if wanted is not None and wanted > max_batch:
        raise UsageError(f"--batch {wanted}: {engine} takes batches of {max_batch} at most")
    return wanted or batch_of(contract.image_hw, min(max_batch, _USUAL_BATCH))


def check_drawable(contract: Contract, engine: Path) -> None:
    """Check that there are warps to be drawn.

    Raises:
        UsageError: the model has no transformer.
    """
    if contract.loc is Loc.NONE:
        raise UsageError(f"--warps: {engine} has no transformer; it was trained with --loc none")


def predict(
    engine: Engine,
    paths: Sequence[Path | str],
    *,
    batch: int,
    workers: int,
    top: int | None = None,
    least: float | None = None,
    limits: DecodeLimits = USUAL,
    keep: bool = False,
) -> Generator[list[ResultRow], None, None]:
    """Answer image files, and objects by their URL (str); yield their rows batch by batch, in the order of `paths`.

    An image that can't be decoded, or that the model answers with no numbers for, becomes a row with an error.
    Threads decode into the engine's slots while it computes another of them, so memory doesn't grow with the number of
    files. Close the iterator to stop early.

    batch:   images a call of the engine, at most its max_batch
    top:     guesses a row, at most one for each label or text; of a detector, objects; None: one guess, and all objects
    least:   how sure an answer has to be, as `least_sure` says it; None: as it comes
    workers: threads that decode
    limits:  which images are read that are refused otherwise
    keep:    whether rows have pixels, each an array of its own

    Raises:
        LstnError: the engine failed.
    """
    if not paths:
        return
    batch = min(batch, len(paths))
    with engine.slots(batch, most=-(-len(paths) // batch)) as slots:
        yield from answer_in(
            slots,
            engine.contract,
            paths,
            batch=batch,
            workers=workers,
            top=top,
            least=least_sure(engine.contract, None, None) if least is None else least,
            limits=limits,
            keep=keep,
        )


def answer_in(
    slots: Slots,
    contract: Contract,
    paths: Sequence[Path | str],
    *,
    batch: int,
    workers: int,
    top: int | None,
    least: float,
    limits: DecodeLimits,
    keep: bool = False,
) -> Generator[list[ResultRow], None, None]:
    """Answer images in slots that are open, as `predict` does. All slots are the caller's again at the end.

    batch: images a slot, at most as many as it has rows
    """
    pieces = (paths[start : start + batch] for start in range(0, len(paths), batch))
    decoders = Decoders(workers, contract, limits, keep=keep)
    with closing(_Line(slots, decoders, pieces)) as line, decoders:
        while True:
            line.advance()
            if not line.computing:
                return
            decoded, prediction = line.take()
            line.advance()  # the engine computes the next batch while whoever asks uses the rows of this one
            yield list(_rows(decoded, prediction, contract, top, least))


class _Line:
    """Batches in the order of their images: first decoded, then computed. Each holds a slot."""

    def __init__(self, slots: Slots, decoders: Decoders, pieces: Iterator[Sequence[Path | str]]) -> None:
        self._slots = slots
        self._decoders = decoders
        self._pieces = pieces
        self._filling: deque[tuple[Slot, DecodedBatch]] = deque()
        self.computing: deque[tuple[Slot, DecodedBatch]] = deque()

    def advance(self) -> None:
        """Let every free slot be filled, and submit what is full; wait for the oldest only if nothing computes."""
        for piece in islice(self._pieces, self._slots.count - len(self._filling) - len(self.computing)):
            slot = self._slots.acquire()
            self._filling.append((slot, self._decoders.begin(piece, slot.pixels)))
        while self._filling and (self._filling[0][1].decoded or not self.computing):
            slot, decoded = self._filling[0]
            decoded.wait()
            if decoded.good:
                slot.submit(len(decoded.paths))
            self.computing.append(self._filling.popleft())

    def take(self) -> tuple[DecodedBatch, Prediction | None]:
        """Wait for the answer to the oldest batch; None if not one of its images could be decoded."""
        slot, decoded = self.computing.popleft()
        with slot:
            return decoded, slot.result() if decoded.good else None

    def close(self) -> None:
        """Give all slots back. No decoder may be at work."""
        for slot, _ in (*self._filling, *self.computing):
            slot.release()


def _rows(
    decoded: DecodedBatch, prediction: Prediction | None, contract: Contract, top: int | None, least: float
) -> Iterator[ResultRow]:
    """Yield what became of each image; an error where it can't be decoded, or logits or theta are not finite."""
    answers = None if prediction is None else row_maker(prediction, contract, top, least)
    for row, path in enumerate(decoded.paths):
        if row in decoded.errors or answers is None:
            yield ResultRow(path, error=decoded.errors[row].message.removeprefix(f"{path}: "))
        else:
            yield answers(row, path, decoded.kept.get(row))


RowOf: TypeAlias = Callable[[int, Path | str, Pixels | None], ResultRow]
"""Row of a batch, path and pixels -> what became of the image."""


def row_maker(prediction: Prediction, contract: Contract, top: int | None, least: float) -> RowOf:
    """Return what makes the rows of a batch of its prediction; top and least as for `predict`."""
    return _ANSWERS[contract.task](prediction, contract, top, least)


def _classified(prediction: Prediction, contract: Contract, top: int | None, least: float) -> RowOf:
    guesses = leading(softmax(prediction.logits), contract.labels, top=top or 1)
    finite = _finite(prediction)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        theta = None if prediction.theta is None else prediction.theta[row]
        if not finite[row]:
            return ResultRow(path, (), theta, pixels, _NO_NUMBER)
        return ResultRow(path, guesses[row], theta, pixels, rejected=guesses[row][0].probability < least)

    return row_of


def _detected(prediction: Prediction, contract: Contract, top: int | None, least: float) -> RowOf:
    theta, finite = prediction.theta, _finite(prediction)
    assert theta is not None  # a detector's contract has a localizer
    most = min(top or MOST_FOUND, MOST_FOUND)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        if not finite[row]:
            return ResultRow(path, pixels=pixels, error=_NO_NUMBER)
        found = detections(prediction.logits[row], theta[row], contract.labels, least=least, most=most)
        return ResultRow(path, pixels=pixels, objects=found)

    return row_of


def _read(prediction: Prediction, contract: Contract, top: int | None, least: float) -> RowOf:
    theta, finite = prediction.theta, _finite(prediction)

    def row_of(row: int, path: Path | str, pixels: Pixels | None) -> ResultRow:
        if not finite[row]:
            return ResultRow(path, pixels=pixels, error=_NO_NUMBER)
        places = None if theta is None else theta[row]
        labels, between = contract.labels, contract.separator
        texts = transcripts(prediction.logits[row], places, labels, top=top or 1, separator=between)
        guesses = tuple(Guess(text.text, text.probability) for text in texts)
        rejected = guesses[0].probability < least
        return ResultRow(path, guesses, pixels=pixels, symbols=texts[0].symbols, rejected=rejected)

    return row_of


def _aligned(prediction: Prediction, contract: Contract, top: int | None, least: float) -> RowOf:
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


_ANSWERS: dict[Task, Callable[[Prediction, Contract, int | None, float], RowOf]] = {
    Task.CLASSIFY: _classified,
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
