"""Requests -> batches -> futures: a batch leaves when it is full or its oldest request has waited long enough, and the
engine has use for it; until then it grows.

The images of one request stay together; a request of more than a batch is split, and its pieces may share a batch with
others. Requests leave in the order in which they were submitted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from lstn.images import Pixels
from lstn.report.wording import counted
from lstn.runtime.engines.prediction import Prediction, joined
from lstn.runtime.serving.requests.refusal import Reason, Refusal


class Reservation:
    """Room in the queue for the `count` images of one request, from its arrival until it is answered or given up."""

    def __init__(self, batcher: "Batcher", count: int) -> None:
        self.count = count
        self.taken = 0
        self.given_up = False
        self.settled = False
        self.pixels: Pixels | None = None
        self.submitted_at = 0.0
        self.expires_at = float("inf")
        self.future: Future[Prediction] = Future()
        self.answers: list[Prediction] = []
        self.queued_s = 0.0
        self.computed_s = 0.0
        self._batcher = batcher

    def submit(self, pixels: Pixels, *, expires_at: float = float("inf")) -> "Future[Prediction]":
        """Queue (count, H, W, 3) uint8; the future holds their prediction, a `Refusal` or what the engine raised.

        expires_at: on the batcher's clock; a request that still waits then is dropped, and costs the engine nothing
        """
        if len(pixels) != self.count:
            raise ValueError(f"{len(pixels)} images in a reservation for {self.count}")
        self._batcher.enqueue(self, pixels, expires_at)
        return self.future

    def give_up(self) -> None:
        """Leave the queue, because nobody waits for the answer any more. After the answer this does nothing."""
        self._batcher.remove(self)

    def settle(self, result: Prediction | Exception) -> None:
        """Answer the request. Only the first answer counts, and none once its future was cancelled."""
        if not self._batcher.first_to_settle(self) or not self.future.set_running_or_notify_cancel():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


@dataclass(frozen=True, slots=True)
class BatchShare:
    """Images `start` to `stop` of one request, within a batch. waited_s: since they were submitted."""

    reservation: Reservation
    start: int
    stop: int
    waited_s: float


class Batcher:
    """The queue of one engine: filled by any thread, emptied by the one that owns the engine.

    max_batch:  images that leave together at most
    max_wait_s: how long the oldest request waits for others
    max_queue:  images at most that were admitted and haven't left
    at_once:    batches that the engine has use for at once; one more is ready, and grows until it has
    clock:      seconds, never backwards
    """

    def __init__(
        self,
        *,
        max_batch: int,
        max_wait_s: float,
        max_queue: int,
        at_once: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_batch = max_batch
        self.max_wait_s = max_wait_s
        self.max_queue = max_queue
        self._at_once = at_once
        self._unanswered = 0
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[Reservation] = deque()
        self._submitted = 0
        self._waiting = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Images that were admitted and haven't left."""
        return self._waiting

    def admit(self, count: int) -> Reservation:
        """Hold room for `count` images, at once or not at all.

        Raises:
            Refusal: invalid for more images than the queue ever holds, overloaded for more than it holds now,
                unavailable after `close`.
        """
        if not 1 <= count <= self.max_queue:
            raise Refusal(
                Reason.INVALID, f"{counted(count, 'image')} in one request; from 1 to {self.max_queue} are taken"
            )
        with self._changed:
            if self._closed:
                raise Refusal(Reason.UNAVAILABLE, "the server is stopping")
            if self._waiting + count > self.max_queue:
                raise Refusal(Reason.OVERLOADED, "the queue is full; try again later")
            self._waiting += count
        return Reservation(self, count)

    def enqueue(self, reservation: Reservation, pixels: Pixels, expires_at: float) -> None:
        """Put a reservation's images in the queue; see `Reservation.submit`."""
        with self._changed:
            if reservation.given_up:
                return
            reservation.pixels, reservation.expires_at, reservation.submitted_at = pixels, expires_at, self._clock()
            self._queue.append(reservation)
            self._submitted += reservation.count
            if self._submitted >= self.max_batch or len(self._queue) == 1:
                self._changed.notify()  # the owner sleeps until the oldest is due, unless the batch is full

    def remove(self, reservation: Reservation) -> None:
        """Forget what is left of a reservation; see `Reservation.give_up`."""
        with self._changed:
            if reservation.given_up:
                return
            reservation.given_up = True
            left = reservation.count - reservation.taken
            self._waiting -= left
            if reservation.pixels is not None and left:
                self._queue.remove(reservation)
                self._submitted -= left
            self._changed.notify()

    def first_to_settle(self, reservation: Reservation) -> bool:
        """Note that a reservation is answered; False if it was. One thread may see its deadline pass while the engine
        fails on a piece of it in another."""
        with self._changed:
            first, reservation.settled = not reservation.settled, True
        return first

    def close(self) -> None:
        """Admit nothing more. What was admitted is still answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def due_in(self) -> float | None:
        """Return the seconds until a batch may leave, 0 for now; None as long as nothing is queued."""
        if not self._queue:
            return None
        if self._closed or self._submitted >= self.max_batch:
            return 0.0
        return max(0.0, self._queue[0].submitted_at + self.max_wait_s - self._clock())

    def wait(self) -> bool:
        """Sleep until a batch may leave; False once closed, with nothing left to answer."""
        with self._changed:
            while True:
                due = self.due_in()
                if due == 0:
                    return True
                if self._closed and self._waiting == 0:
                    return False
                self._changed.wait(due)

    def more(self, room: int) -> list[BatchShare]:
        """Take what a batch with room for so many images can still hold; wait for it as long as the engine is busy.

        Empty: the batch is to leave, because the engine has use for it, or because it can't grow.
        """
        with self._changed:
            while room and self._unanswered >= self._at_once and not self._queue and not self._closed:
                self._changed.wait()
            return self.take(room) if room and self._unanswered >= self._at_once else []

    def leave(self) -> None:
        """Note that a batch is on its way to the engine."""
        with self._changed:
            self._unanswered += 1

    def answered(self) -> None:
        """Note that the engine has computed a batch that left, or failed on it."""
        with self._changed:
            self._unanswered -= 1
            self._changed.notify()

    def take(self, room: int | None = None) -> list[BatchShare]:
        """Take the next batch out of the queue, or what of it has room; empty if everything that waited has expired,
        was given up, or is too large."""
        parts: list[BatchShare] = []
        expired: list[Reservation] = []
        room = self.max_batch if room is None else room
        with self._changed:
            now = self._clock()
            while self._queue and room:
                reservation = self._queue[0]
                left = reservation.count - reservation.taken
                if now >= reservation.expires_at:
                    expired.append(reservation)
                    size = left
                    reservation.given_up = True
                elif left > room and reservation.count <= self.max_batch:
                    break
                else:
                    size = min(left, room)
                    parts.append(
                        BatchShare(
                            reservation, reservation.taken, reservation.taken + size, now - reservation.submitted_at
                        )
                    )
                    room -= size
                reservation.taken += size
                self._submitted -= size
                self._waiting -= size
                if reservation.taken == reservation.count:
                    self._queue.popleft()
        for reservation in expired:
            fail(reservation, Refusal(Reason.EXPIRED, "the deadline passed while the request waited"))
        return parts


def deliver(parts: Sequence[BatchShare], prediction: Prediction, took_s: float = 0.0) -> None:
    """Hand every request of a batch its own rows; a request that was split is answered with its last piece.

    took_s: the engine's time for the batch
    """
    offset = 0
    for part in parts:
        rows = slice(offset, offset + part.stop - part.start)
        offset = rows.stop
        reservation = part.reservation
        reservation.computed_s += took_s
        if part.start == 0:
            reservation.queued_s = part.waited_s
        reservation.answers.append(
            Prediction(prediction.logits[rows], None if prediction.theta is None else prediction.theta[rows])
        )
        if part.stop == reservation.count and not reservation.settled:
            reservation.pixels = None
            reservation.settle(joined(reservation.answers))


def fail(reservation: Reservation, error: Exception) -> None:
    """Answer a request with an error; what is left of it leaves the queue."""
    reservation.give_up()
    reservation.settle(error)
