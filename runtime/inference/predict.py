"""Images -> answers, in order: decoded by threads ahead of the engine, and never more of them than a window holds."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lstn.contract import Contract, Loc, Task, check_task
from lstn.detection.suppression import MOST_FOUND, SHOWN_SCORE, Detection, detections
from lstn.errors import ImageError, UsageError
from lstn.evaluation.answer import Guess, leading, softmax
from lstn.images import USUAL, Pixels, Reading, decode
from lstn.machine.memory import batch_of
from lstn.runtime.engines.base import Engine, Prediction
from lstn.runtime.inference.sources import decode_url
from lstn.warps.warp import Theta

_USUAL_BATCH = 32

_NO_NUMBER = "the model's answer is not a number"


@dataclass(frozen=True, slots=True, eq=False)
class ResultRow:
    """What became of one image: guesses, or objects of a model that detects, best first; or an error.

    path:   the file, or the URL of an object
    theta:  float32, of the shape (2, 3), (3, 3) or (16, 2), or K of them, or None for a model without one
    pixels: (H, W, 3) uint8, what the engine saw
    objects: None for a model that classifies
    rejected: the best guess is less probable than was asked for; it is no answer
    """

    path: Path | str
    guesses: tuple[Guess, ...] = ()
    theta: Theta | None = None
    pixels: Pixels | None = None
    error: str = ""
    objects: tuple[Detection, ...] | None = None
    rejected: bool = False


def least_sure(contract: Contract, score: float | None, reject_below: float | None) -> float:
    """Return how sure an answer has to be, 0..1: the score of an object, or the probability of a label.

    score, reject_below: `--score` and `--reject-below`, as far as they were given

    Raises:
        UsageError: the one that was given is for models of the other task.
    """
    if score is not None:
        check_task(contract.task, Task.DETECT, "--score", hint="use --reject-below")
    if reject_below is not None:
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


def check_warps(contract: Contract, engine: Path) -> None:
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
    reading: Reading = USUAL,
) -> Generator[list[ResultRow], None, None]:
    """Answer image files, and objects by their URL (str); yield their rows batch by batch, in the order of `paths`.

    An image that can't be decoded, or that the model answers with no numbers for, becomes a row with an error.
    Two batches are decoded ahead while the engine works, so memory doesn't grow with the number of files. Close the
    iterator to stop early.

    batch:   images a call of the engine, at most its max_batch
    top:     guesses a row, at most one for each label; of a detector, objects; None: one guess, and all objects
    least:   how sure an answer has to be, as `least_sure` says it; None: as it comes
    workers: threads that decode
    reading: which images are read that are refused otherwise

    Raises:
        LstnError: the engine failed.
    """
    sure = least_sure(engine.contract, None, None) if least is None else least
    decoded = decode_ahead(paths, engine.contract.image_hw, workers=workers, window=2 * batch, reading=reading)
    with closing(decoded):
        while piece := list(islice(decoded, batch)):
            yield _answer(engine, piece, top, sure)


def decode_ahead(
    paths: Sequence[Path | str],
    image_hw: tuple[int, int],
    *,
    workers: int,
    window: int,
    reading: Reading = USUAL,
) -> Generator[tuple[Path | str, Pixels | ImageError], None, None]:
    """Decode files in `workers` threads; yield each with its pixels (H, W, 3) or its error, in the order of `paths`.

    At most `window` images are decoded, or being decoded, and not yet taken.
    """
    waiting: deque[tuple[Path | str, Future[Pixels]]] = deque()
    remaining = iter(paths)
    executor = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            for path in islice(remaining, window - len(waiting)):
                future = executor.submit(load, path, image_hw, reading)
                waiting.append((path, future))
            if not waiting:
                return
            path, future = waiting.popleft()
            try:
                yield path, future.result()
            except ImageError as error:
                yield path, error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def load(path: Path | str, image_hw: tuple[int, int], reading: Reading = USUAL) -> Pixels:
    """Decode a file, or an object by its URL (str), to (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it can't be read or decoded.
    """
    if isinstance(path, Path):
        return decode(path, image_hw, reading=reading)
    return decode_url(path, image_hw, reading)


def _answer(
    engine: Engine, piece: Sequence[tuple[Path | str, Pixels | ImageError]], top: int | None, least: float
) -> list[ResultRow]:
    good = [(path, pixels) for path, pixels in piece if not isinstance(pixels, ImageError)]
    answer = _detect if engine.contract.task is Task.DETECT else _classify
    answers = answer(engine, good, top, least) if good else iter(())
    return [
        ResultRow(path, error=pixels.message.removeprefix(f"{path}: "))
        if isinstance(pixels, ImageError)
        else next(answers)
        for path, pixels in piece
    ]


def _classify(
    engine: Engine, images: Sequence[tuple[Path | str, Pixels]], top: int | None, least: float
) -> Iterator[ResultRow]:
    """Yield guesses and theta of each image; an error where logits or theta are not finite."""
    prediction = engine.infer(np.stack([pixels for _, pixels in images]))
    guesses = leading(softmax(prediction.logits), engine.contract.labels, top=top or 1)
    for index, ((path, pixels), guess) in enumerate(zip(images, guesses, strict=True)):
        theta = None if prediction.theta is None else prediction.theta[index]
        if _finite(prediction, index):
            yield ResultRow(path, guess, theta, pixels, rejected=guess[0].probability < least)
        else:
            yield ResultRow(path, (), theta, pixels, _NO_NUMBER)


def _detect(
    engine: Engine, images: Sequence[tuple[Path | str, Pixels]], top: int | None, least: float
) -> Iterator[ResultRow]:
    """Yield the objects that were found in each image; an error where logits or theta are not finite."""
    prediction, labels = engine.infer(np.stack([pixels for _, pixels in images])), engine.contract.labels
    assert prediction.theta is not None  # a detector's contract has a localizer
    for index, (path, pixels) in enumerate(images):
        if not _finite(prediction, index):
            yield ResultRow(path, pixels=pixels, error=_NO_NUMBER)
            continue
        answer = prediction.logits[index], prediction.theta[index]
        found = detections(*answer, labels, least=least, most=min(top or MOST_FOUND, MOST_FOUND))
        yield ResultRow(path, pixels=pixels, objects=found)


def _finite(prediction: Prediction, index: int) -> bool:
    both = (prediction.logits, prediction.theta)
    return all(np.isfinite(each[index]).all() for each in both if each is not None)
