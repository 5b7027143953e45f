"""Slots of any engine: who may do what with one, and what becomes of it when something fails."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.contract import Contract, Loc
from lstn.errors import DeviceError, UsageError
from lstn.images import Pixels
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.engines.slots import SLOTS, Slots, open_slots
from lstn.testing import FakeEngine

CONTRACT = Contract(Loc.NONE, "cnn", (2, 2), ("dark", "light"))


def brightness(pixels: Pixels) -> Prediction:
    light = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
    return Prediction(np.stack([255 - light, light], axis=1), None)


class Watched:
    """A slot's work that notes what is asked of it, and can be told what fails."""

    def __init__(self, made: list["Watched"], fails: str = "") -> None:
        self.pixels: Pixels = np.zeros((4, 2, 2, 3), np.uint8)
        self.calls: list[str] = []
        self.fails = fails
        self.under_way = self.closed = False
        made.append(self)

    def start(self, count: int) -> None:
        assert not self.under_way
        self._note("start")
        self.under_way = True

    def finish(self, count: int) -> Prediction:
        assert self.under_way
        self.under_way = False
        self._note("finish")
        return brightness(self.pixels[:count])

    def cancel(self) -> None:
        self._note("cancel")
        self.under_way = False

    def close(self) -> None:
        assert not self.under_way, "closed while it computes"
        assert not self.closed
        self.closed = True

    def _note(self, call: str) -> None:
        assert not self.closed, "used after it was closed"
        self.calls.append(call)
        if call == self.fails:
            raise DeviceError(f"{call} failed")


@pytest.fixture
def made() -> Iterator[list[Watched]]:
    works: list[Watched] = []
    yield works
    assert all(work.closed for work in works)


def test_an_engine_that_only_infers_has_slots() -> None:
    engine = FakeEngine(CONTRACT, brightness, max_batch=8)
    with engine.slots(4) as slots:
        assert slots.count == SLOTS
        for value, count in ((10, 4), (20, 1), (30, 3), (40, 4)):
            with slots.acquire() as slot:
                assert slot.pixels.shape == (4, 2, 2, 3)
                slot.pixels[:count] = value
                slot.submit(count)
                np.testing.assert_array_equal(slot.result().logits[:, 1], [value] * count)
    assert engine.calls == [4, 1, 3, 4]
    for rows in (0, 9):
        with pytest.raises(UsageError, match="expected from 1 to 8"):
            engine.slots(rows)


def test_a_slot_in_flight_cannot_be_used(made: list[Watched]) -> None:
    with open_slots(lambda: Watched(made), most=SLOTS) as slots:
        slot = slots.acquire()
        with pytest.raises(UsageError, match="computes nothing"):
            slot.result()
        for count in (0, 5):
            with pytest.raises(UsageError, match="expected from 1 to 4"):
                slot.submit(count)
        slot.submit(2)
        with pytest.raises(UsageError, match="submitted, or over"):
            slot.submit(2)
        with pytest.raises(UsageError, match="submitted, or over"):
            slot.pixels  # noqa: B018
        slot.result()
        for use in (slot.result, lambda: slot.submit(1), lambda: slot.pixels):
            with pytest.raises(UsageError):
                use()
        slot.release()
    assert made[0].calls == ["start", "finish"]


def test_a_slot_that_is_over_says_nothing_of_the_next_batch(made: list[Watched]) -> None:
    with open_slots(lambda: Watched(made), most=SLOTS) as slots:
        slot = slots.acquire()
        slot.release()
        for _ in range(slots.count):
            slots.acquire().submit(1)
        slot.release()  # and so doesn't give back what another holds by now
        with pytest.raises(UsageError):
            slot.result()
        assert made[0].under_way


def in_turn(slots: Slots) -> Prediction:
    with slots.acquire() as slot:
        slot.submit(1)
        return slot.result()


@pytest.mark.parametrize("fails", ["start", "finish"])
def test_a_slot_is_free_after_any_failure(made: list[Watched], fails: str) -> None:
    with open_slots(lambda: Watched(made, fails), most=SLOTS) as slots:
        for _ in range(3 * slots.count):
            with pytest.raises(DeviceError, match=fails):
                in_turn(slots)
        for work in made:
            work.fails = ""
        held = [slots.acquire() for _ in range(slots.count)]
        assert len(held) == SLOTS


def broken_off(slots: Slots, *, submitted: bool) -> None:
    with slots.acquire() as slot:
        if submitted:
            slot.submit(1)
        raise ZeroDivisionError


@pytest.mark.parametrize("submitted", [False, True])
def test_an_error_in_the_middle_gives_a_slot_back(made: list[Watched], submitted: bool) -> None:
    with open_slots(lambda: Watched(made), most=SLOTS) as slots:
        for _ in range(2 * slots.count):
            with pytest.raises(ZeroDivisionError):
                broken_off(slots, submitted=submitted)
    assert {tuple(work.calls) for work in made} == {("start", "cancel") * 2 if submitted else ()}


def test_what_is_under_way_at_the_end_is_waited_for(made: list[Watched]) -> None:
    opened = ExitStack()
    slots = opened.enter_context(open_slots(lambda: Watched(made), most=SLOTS))
    first, second = slots.acquire(), slots.acquire()
    first.submit(1)
    assert second.pixels.shape == (4, 2, 2, 3)
    opened.close()
    assert [work.calls for work in made] == [["start", "cancel"], [], []]
    with pytest.raises(UsageError, match="closed"):
        slots.acquire()


def test_fewer_slots_are_better_than_none(made: list[Watched], capsys: pytest.CaptureFixture[str]) -> None:
    def make() -> Watched:
        if len(made) == 1:
            raise DeviceError("cudaMalloc failed: out of memory")
        return Watched(made)

    with open_slots(make, most=SLOTS) as slots:
        assert slots.count == 1
        for _ in range(3):
            in_turn(slots)
    assert capsys.readouterr().err == "warning: 1 batch at a time, not 3: cudaMalloc failed: out of memory\n"

    def never() -> Watched:
        raise DeviceError("cudaMalloc failed: out of memory")

    with pytest.raises(DeviceError, match="out of memory"), open_slots(never, most=SLOTS):
        pass


def test_another_error_frees_the_slots_that_were_made(made: list[Watched]) -> None:
    def make() -> Watched:
        if len(made) == 2:
            raise KeyboardInterrupt
        return Watched(made)

    with pytest.raises(KeyboardInterrupt), open_slots(make, most=SLOTS):
        pass
    assert [work.closed for work in made] == [True, True]


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["submit", "result", "release"])), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_order_of_calls_is_an_answer_or_a_usage_error(steps: list[tuple[int, str]]) -> None:
    """Whatever the order, a slot computes what its own holder wrote, and none is lost."""
    made: list[Watched] = []
    with open_slots(lambda: Watched(made), most=SLOTS) as slots:
        held = [slots.acquire() for _ in range(slots.count)]
        for number, (which, call) in enumerate(steps):
            slot = held[which % len(held)]
            try:
                if call == "submit":
                    slot.pixels[:1] = number % 256
                    slot.submit(1)
                    written = number % 256
                    slot.written = written  # type: ignore[attr-defined]
                elif call == "result":
                    assert slot.result().logits[0, 1] == slot.written  # type: ignore[attr-defined]
                else:
                    slot.release()
            except UsageError:
                continue
            if call != "submit":
                held[which % len(held)] = slots.acquire()
        assert len({id(slot) for slot in held}) == SLOTS
    assert all(work.closed for work in made)


def test_threads_share_slots_and_each_gets_its_own_answers(made: list[Watched]) -> None:
    wrong: list[object] = []

    def client(slots: Slots, number: int) -> None:
        for step in range(100):
            value = (number * 31 + step) % 256
            with slots.acquire() as slot:
                slot.pixels[:2] = value
                slot.submit(2)
                light = slot.result().logits[:, 1]
            if not (light == value).all():
                wrong.append((number, step, light))

    with open_slots(lambda: Watched(made), most=SLOTS) as slots:
        threads = [threading.Thread(target=client, args=(slots, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_who_waits_for_a_slot_gets_it_when_one_is_given_back(made: list[Watched]) -> None:
    got = threading.Event()
    with open_slots(lambda: Watched(made), most=SLOTS) as slots:
        held = [slots.acquire() for _ in range(slots.count)]

        def wait() -> None:
            with slots.acquire():
                got.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.is_set()
        held[1].release()
        assert got.wait(10)
        waiting.join()
