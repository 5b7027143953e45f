"""Requests on their way into slots: what a batch waits for, who copies, and what becomes of it when something fails."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from lstn.contract import Contract, Loc
from lstn.errors import DeviceError
from lstn.images import Pixels
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import SLOTS, Slots, open_slots
from lstn.runtime.serving.models.batcher import Batcher, Reservation, deliver
from lstn.runtime.serving.models.feeding import Feeder, FullBatch
from lstn.runtime.serving.requests.refusal import Refusal
from lstn.testing import FakeEngine

CONTRACT = Contract(Loc.NONE, "cnn", (2, 2), ("dark", "light"))


def brightness(pixels: Pixels) -> Prediction:
    light = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
    return Prediction(np.stack([255 - light, light], axis=1), None)


@contextmanager
def fed(
    slots: Slots, *, at_once: int = 1, submits: bool = False, max_wait_s: float = 0.0
) -> Iterator[tuple[Batcher, Feeder]]:
    batcher = Batcher(max_batch=4, max_wait_s=max_wait_s, max_queue=100, at_once=at_once)
    with Feeder("m", batcher, slots, submits=submits) as feeder:
        yield batcher, feeder


def asked(batcher: Batcher, value: int, count: int = 1) -> Reservation:
    reservation = batcher.admit(count)
    reservation.submit(np.full((count, 2, 2, 3), value, np.uint8))
    return reservation


def taken(feeder: Feeder) -> FullBatch:
    full = feeder.take()
    assert full is not None
    return full


def answered(batcher: Batcher, full: FullBatch) -> None:
    full.slot.submit(full.count)
    prediction = full.slot.result()
    batcher.answered()
    deliver(full.parts, prediction)


def light(reservation: Reservation) -> list[int]:
    return reservation.future.result(timeout=10).logits[:, 1].astype(int).tolist()


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(2000):
        if true():
            return
        waiting.wait(0.005)
    raise AssertionError("it never came true")


@pytest.fixture
def slots() -> Iterator[Slots]:
    with FakeEngine(CONTRACT, brightness).slots(4) as opened:
        yield opened


def test_a_batch_grows_while_the_engine_is_busy(slots: Slots) -> None:
    with fed(slots) as (batcher, feeder):
        first = asked(batcher, 10)
        busy = taken(feeder)
        assert busy.count == 1
        later = []
        for value in (20, 30, 40):
            later.append(asked(batcher, value))
            until(lambda: batcher.waiting == 0)  # it stands in the next slot already
        answered(batcher, busy)
        grown = taken(feeder)
        assert grown.count == 3
        answered(batcher, grown)
        assert [light(each) for each in (first, *later)] == [[10], [20], [30], [40]]


def test_a_batch_that_is_full_makes_room_for_the_next(slots: Slots) -> None:
    with fed(slots) as (batcher, feeder):
        requests = [asked(batcher, value, 4) for value in (1, 2, 3)]
        until(lambda: batcher.waiting == 0)
        assert slots.count == SLOTS
        more = asked(batcher, 4, 4)
        for count in (4, 4, 4, 4):
            full = taken(feeder)
            assert full.count == count
            answered(batcher, full)
        assert [light(each) for each in (*requests, more)] == [[value] * 4 for value in (1, 2, 3, 4)]


def test_a_request_that_does_not_fit_stays_together(slots: Slots) -> None:
    with fed(slots) as (batcher, feeder):
        first = asked(batcher, 1)
        busy = taken(feeder)
        pair = asked(batcher, 2, 2)
        until(lambda: batcher.waiting == 0)
        three = asked(batcher, 3, 3)
        waiting = taken(feeder)  # it can't grow any more, and makes room
        assert waiting.count == 2
        answered(batcher, busy)
        answered(batcher, waiting)
        answered(batcher, taken(feeder))
        assert [light(each) for each in (first, pair, three)] == [[1], [2, 2], [3, 3, 3]]


class OnGpu:
    """A slot's work that computes by itself, once it is let."""

    def __init__(self, under_way: list["OnGpu"]) -> None:
        self.pixels: Pixels = np.zeros((4, 2, 2, 3), np.uint8)
        self.go = threading.Event()
        self._under_way = under_way

    def start(self, count: int) -> None:
        self.go.clear()
        self._under_way.append(self)

    def finish(self, count: int) -> Prediction:
        assert self.go.wait(10)
        self._under_way.remove(self)
        return brightness(self.pixels[:count])

    def cancel(self) -> None:
        self._under_way.remove(self)

    def close(self) -> None:
        assert self not in self._under_way


def test_a_gpu_has_two_batches_while_a_third_is_filled() -> None:
    under_way: list[OnGpu] = []
    with open_slots(lambda: OnGpu(under_way), most=SLOTS) as slots:
        with fed(slots, at_once=2, submits=True) as (batcher, feeder):
            requests = [asked(batcher, value, 4) for value in (1, 2)]
            until(lambda: len(under_way) == 2)
            requests += [asked(batcher, value) for value in (3, 4)]
            until(lambda: batcher.waiting == 0)  # in the third slot, which is open: it may grow
            assert len(under_way) == 2
            for values in ((1,) * 4, (2,) * 4, (3, 4)):
                full = taken(feeder)
                under_way[0].go.set()
                prediction = full.slot.result()
                batcher.answered()
                deliver(full.parts, prediction)
                assert prediction.logits[:, 1].tolist() == list(values)
        assert [light(each) for each in requests] == [[1] * 4, [2] * 4, [3], [4]]


def test_a_batch_that_is_refused_when_it_is_submitted_fails_alone() -> None:
    class Refusing(OnGpu):
        def start(self, count: int) -> None:
            if self.pixels[0].max() == 7:
                raise DeviceError("no")
            super().start(count)
            self.go.set()

    under_way: list[OnGpu] = []
    opening = open_slots(lambda: Refusing(under_way), most=SLOTS)
    with opening as slots, fed(slots, at_once=2, submits=True) as (batcher, feeder):
        for _ in range(2 * SLOTS):
            with pytest.raises(Refusal, match="the engine failed"):
                asked(batcher, 7).future.result(timeout=10)
        good = asked(batcher, 8)
        full = taken(feeder)
        prediction = full.slot.result()
        batcher.answered()
        deliver(full.parts, prediction)
        assert light(good) == [8]


def test_at_the_end_what_nobody_answers_is_refused(slots: Slots) -> None:
    with fed(slots) as (batcher, _):
        waiting = [asked(batcher, value, 4) for value in (1, 2, 3, 4, 5)]
    for reservation in waiting:
        with pytest.raises(Refusal, match="the engine failed"):
            reservation.future.result(timeout=10)
    assert len([slots.acquire() for _ in range(slots.count)]) == SLOTS


def test_who_left_before_the_batch_was_taken_is_not_computed(slots: Slots) -> None:
    with fed(slots, max_wait_s=0.05) as (batcher, feeder):
        left, stays = asked(batcher, 1), asked(batcher, 2)
        left.give_up()
        full = taken(feeder)
        assert full.count == 1
        answered(batcher, full)
        assert light(stays) == [2]


def test_who_leaves_a_batch_that_still_grows_is_not_computed(slots: Slots) -> None:
    with fed(slots) as (batcher, feeder):
        asked(batcher, 1)
        busy = taken(feeder)
        left = asked(batcher, 2)
        until(lambda: batcher.waiting == 0)
        stays = asked(batcher, 3)
        until(lambda: batcher.waiting == 0)
        left.give_up()
        answered(batcher, busy)
        full = taken(feeder)
        assert full.count == 1
        answered(batcher, full)
        assert light(stays) == [3]
        assert not left.future.done()
