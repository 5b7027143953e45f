"""Images -> answers, in order: threads decode into the engine's slots, and it computes one that is full meanwhile."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from lstn.contract import Contract, Loc, Task, check_task
from lstn.detection.suppression import SHOWN_SCORE
from lstn.errors import UsageError
from lstn.images import USUAL, DecodeLimits
from lstn.machine.memory import batch_of
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import Slot, Slots
from lstn.runtime.inference.decoding import DecodedBatch, Decoders
from lstn.runtime.inference.result_rows import ResultRow, row_maker

_USUAL_BATCH = 32


_OTHERWISE: dict[Task, str] = {
    Task.CLASSIFY: "use --reject-below",
    Task.TAG: "use --score, or leave it out: the model has a threshold for each label",
    Task.DETECT: "use --score",
    Task.READ: "use --reject-below",
    Task.ALIGN: "leave it out: each sentence has a score",
}
"""How a model of a task leaves out what it is less sure of. Total over `Task`, but GENERATE, which looks at none."""


def least_sure(contract: Contract, score: float | None, reject_below: float | None) -> float | None:
    """Return how sure an answer has to be, 0..1: the score of an object, or the probability of a label or a text.

    Of a model that tags it is the probability of a label; None: each label has its own threshold.

    score, reject_below: `--score` and `--reject-below`, as far as they were given

    Raises:
        UsageError: the one that was given is for models of another task.
    """
    if score is not None and contract.task is not Task.TAG:
        check_task(contract.task, Task.DETECT, "--score", hint=_OTHERWISE[contract.task])
    if reject_below is not None and contract.task in (Task.DETECT, Task.TAG):
        check_task(contract.task, Task.CLASSIFY, "--reject-below", hint=_OTHERWISE[contract.task])
    if contract.task is Task.DETECT:
        return SHOWN_SCORE if score is None else score
    return score if contract.task is Task.TAG else reject_below or 0.0


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
    top:     guesses a row, at most one for each label or text; of a detector, objects, of a model that tags, labels;
             None: one guess, and all objects or labels
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
    least: float | None,
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
    decoded: DecodedBatch, prediction: Prediction | None, contract: Contract, top: int | None, least: float | None
) -> Iterator[ResultRow]:
    """Yield what became of each image; an error where it can't be decoded, or logits or theta are not finite."""
    answers = None if prediction is None else row_maker(prediction, contract, top, least)
    for row, path in enumerate(decoded.paths):
        if row in decoded.errors or answers is None:
            yield ResultRow(path, error=decoded.errors[row].message.removeprefix(f"{path}: "))
        else:
            yield answers(row, path, decoded.kept.get(row))
