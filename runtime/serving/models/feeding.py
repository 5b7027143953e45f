"""Feeding of an engine: a thread that copies requests into a slot while the engine computes another one."""

import queue
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from lstn.images import Pixels
from lstn.runtime.engines.slots import Slot, Slots
from lstn.runtime.serving.models.batcher import Batcher, BatchShare, fail
from lstn.runtime.serving.requests.refusal import Reason, Refusal


@dataclass(frozen=True, slots=True)
class FullBatch:
    """A batch that has left the queue. began_s: when it was submitted, or is to be, by `time.perf_counter`."""

    slot: Slot
    parts: list[BatchShare]
    count: int
    began_s: float


class Feeder:
    """Fills an engine's slots from its queue, for a `with`: at its end nobody writes into a slot any more.

    submits: whether a batch is submitted as soon as it is full, behind others; else whoever takes it does that
    """

    def __init__(self, name: str, batcher: Batcher, slots: Slots, *, submits: bool) -> None:
        self._batcher = batcher
        self._slots = slots
        self._submits = submits
        self._ended = False
        self._full: queue.SimpleQueue[FullBatch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._feed, name=f"feeder-{name}", daemon=True)

    def take(self) -> FullBatch | None:
        """Wait for the next batch; None once the queue is closed and empty. `Batcher.answered` is due for each."""
        full = self._full.get()
        self._ended = full is None
        return full

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.close()
        while not self._ended and (full := self.take()) is not None:  # nobody else answers them any more
            full.slot.release()
            self._batcher.answered()
            refuse(full.parts, RuntimeError("the engine's thread has ended"))
        self._thread.join()

    def _feed(self) -> None:
        try:
            while self._batcher.wait():
                self._fill(self._slots.acquire())
        finally:
            self._full.put(None)

    def _fill(self, slot: Slot) -> None:
        parts = self._filled(slot.pixels)
        if not parts:
            slot.release()
            return
        count = sum(part.stop - part.start for part in parts)
        self._batcher.leave()
        began_s = time.perf_counter()
        try:
            if self._submits:
                slot.submit(count)
        except Exception as error:
            self._batcher.answered()
            refuse(parts, error)
            return
        self._full.put(FullBatch(slot, parts, count, began_s))

    def _filled(self, rows: Pixels) -> list[BatchShare]:
        """Copy requests into rows until they are to leave; return those whose client still waits."""
        parts: list[BatchShare] = []
        count, more = 0, self._batcher.take()
        while more:
            count = _copied(more, rows, count)
            parts += more
            more = self._batcher.more(self._batcher.max_batch - count)
        waiting = [part for part in parts if not part.reservation.given_up]
        if len(waiting) < len(parts):
            _copied(waiting, rows, 0)
        return waiting


def _copied(parts: list[BatchShare], rows: Pixels, start: int) -> int:
    """Copy the images of `parts` to `rows` from `start` on; return where they end."""
    for part in parts:
        stop = start + part.stop - part.start
        if part.reservation.pixels is not None:
            rows[start:stop] = part.reservation.pixels[part.start : part.stop]
        start = stop
    return start


def refuse(parts: list[BatchShare], error: Exception) -> None:
    """Answer the requests of a batch that the engine failed on."""
    refusal = Refusal(Reason.FAILED, "the engine failed")
    refusal.__cause__ = error
    for part in parts:
        fail(part.reservation, refusal)
