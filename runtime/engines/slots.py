"""Slots: rows that decoders write into, a batch each, so that one is filled while the engine computes another.

with engine.slots(32) as slots:
    with slots.acquire() as slot:
        slot.pixels[:count] = images        # any thread, or several
        slot.submit(count)
        prediction = slot.result()
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Protocol

import numpy as np

from lstn.contract import Contract
from lstn.errors import DeviceError, UsageError
from lstn.images import Pixels
from lstn.report.wording import counted
from lstn.runtime.engines.prediction import Prediction
from lstn.terminal import warn

SLOTS = 3
"""One is filled, one computes, and one waits behind it, so that a GPU never waits for the host."""


class SlotWork(Protocol):
    """What an engine does for one of its slots. A slot calls it from one thread at a time.

    pixels: (rows, H, W, 3) uint8
    """

    pixels: Pixels

    def start(self, count: int) -> None:
        """Start to compute the first `count` rows. An engine that can't do so on its own leaves all of it to `finish`.

        Raises:
            DeviceError: the library or the GPU failed; nothing is under way then.
        """

    def finish(self, count: int) -> Prediction:
        """Return the answer to the first `count` rows, once it is there. The arrays are the caller's to keep.

        Raises:
            ArtifactError, DeviceError: as `Engine.infer`; nothing is under way then.
        """

    def cancel(self) -> None:
        """Forget what was started. When this returns, nothing reads the rows any more."""

    def close(self) -> None:
        """Give memory back. Nothing is under way."""


class Slot:
    """One batch, from the moment in which its rows are free until its answer is there. After that it is over.

    Within a `with` it is given back at the end, whatever happened.
    """

    def __init__(self, work: SlotWork, give_back: Callable[["Slot", SlotWork], None]) -> None:
        self._work: SlotWork | None = work
        self._give_back = give_back
        self._count = 0

    @property
    def pixels(self) -> Pixels:
        """(rows, H, W, 3) uint8, to be written until `submit`. What stands there at first is undefined.

        Raises:
            UsageError: the slot is submitted, or over.
        """
        return self._filling().pixels

    def submit(self, count: int) -> None:
        """Start to compute the first `count` rows. Nobody may write into the rows from now on.

        Raises:
            UsageError: the slot is submitted already, or over, or has no such number of rows.
            DeviceError: the library or the GPU failed; the slot is over then.
        """
        work = self._filling()
        if not 1 <= count <= len(work.pixels):
            raise UsageError(f"{counted(count, 'image')} in a slot; expected from 1 to {len(work.pixels)}")
        try:
            work.start(count)
        except BaseException:
            self._end(work)
            raise
        self._count = count

    def result(self) -> Prediction:
        """Wait for the answer to the rows that were submitted, and give the slot back.

        Raises:
            UsageError: it isn't submitted.
            ArtifactError, DeviceError: as `Engine.infer`; the slot is over then, too.
        """
        work = self._work
        if work is None or not self._count:
            raise UsageError("this slot computes nothing", hint="submit it first, and ask once")
        try:
            return work.finish(self._count)
        finally:
            self._end(work)

    def release(self) -> None:
        """Give the slot back without an answer; wait for what it may be computing. After `result` this does nothing."""
        work = self._work
        if work is None:
            return
        try:
            if self._count:
                work.cancel()
        finally:
            self._end(work)

    def __enter__(self) -> "Slot":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _filling(self) -> SlotWork:
        if self._work is None or self._count:
            raise UsageError("this slot is submitted, or over", hint="acquire another")
        return self._work

    def _end(self, work: SlotWork) -> None:
        self._work, self._count = None, 0
        self._give_back(self, work)


class Slots:
    """The slots of one engine, for any number of threads. `Engine.slots` opens them.

    count: how many there are; fewer than `SLOTS` where memory is short
    """

    def __init__(self, works: Sequence[SlotWork]) -> None:
        self.count = len(works)
        self._free = deque(works)
        self._taken: set[Slot] = set()
        self._changed = threading.Condition()
        self._closed = False

    def acquire(self) -> Slot:
        """Return the slot that has been free for longest; wait until there is one.

        Who holds all of them and asks for one more waits for ever.

        Raises:
            UsageError: the slots are closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            if self._closed:
                raise UsageError("these slots are closed", hint="use them within their with block")
            slot = Slot(self._free.popleft(), self._give_back)
            self._taken.add(slot)
            return slot

    def close(self) -> None:
        """Release every slot that is still held, and let nobody acquire another. No thread may be using one."""
        with self._changed:
            self._closed = True
            taken = list(self._taken)
            self._changed.notify_all()
        with ExitStack() as releasing:
            for slot in taken:
                releasing.callback(slot.release)

    def _give_back(self, slot: Slot, work: SlotWork) -> None:
        with self._changed:
            self._taken.discard(slot)
            self._free.append(work)
            self._changed.notify()


@contextmanager
def open_slots(make: Callable[[], SlotWork], *, most: int) -> Iterator[Slots]:
    """Make `most` slots, or as many as can be had, for a `with`; never more than `SLOTS`.

    Raises:
        DeviceError: not even one can be had.
    """
    with ExitStack() as resources:
        works: list[SlotWork] = []
        try:
            while len(works) < min(most, SLOTS):
                works.append(make())
                resources.callback(works[-1].close)
        except DeviceError as error:
            if not works:
                raise
            warn(f"{counted(len(works), 'batch')} at a time, not {min(most, SLOTS)}: {error.message}")
        slots = Slots(works)
        resources.callback(slots.close)
        yield slots


class InferWork:
    """A slot of an engine that computes when it is asked to, and returns when it has. Its rows are plain memory."""

    def __init__(self, contract: Contract, rows: int, infer: Callable[[Pixels], Prediction]) -> None:
        self.pixels: Pixels = np.zeros((rows, *contract.image_hw, 3), np.uint8)
        self._infer = infer

    def start(self, count: int) -> None:
        """See `SlotWork`; `finish` does everything."""

    def finish(self, count: int) -> Prediction:
        """See `SlotWork`."""
        return self._infer(self.pixels[:count])

    def cancel(self) -> None:
        """See `SlotWork`."""

    def close(self) -> None:
        """See `SlotWork`."""
