import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.images import Pixels
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.serving.models.batcher import Batcher, BatchShare, Reservation, deliver, fail
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.requests.refusal import Reason, Refusal


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def images(first: int, count: int) -> Pixels:
    """(count, 1, 2, 3) uint8 images that spell first, first + 1, …"""
    numbers = np.arange(first, first + count)
    pixels = np.zeros((count, 1, 2, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers // 256, numbers % 256
    return pixels


def numbers_of(pixels: Pixels) -> np.ndarray:
    return pixels[:, 0, 0, 0].astype(int) * 256 + pixels[:, 0, 0, 1]


def engine(pixels: Pixels) -> Prediction:
    """An engine whose answer says which image it was."""
    numbers = numbers_of(pixels).astype(np.float32)
    return Prediction(numbers[:, None], np.repeat(numbers, 6).reshape(-1, 2, 3))


def run(batcher: Batcher) -> list[BatchShare]:
    parts = batcher.take()
    if parts:
        deliver(parts, engine(np.concatenate([part.reservation.pixels[part.start : part.stop] for part in parts])))
    return parts


def answer(reservation: Reservation) -> list[int]:
    prediction = reservation.future.result(timeout=0)
    assert prediction.theta is not None
    assert (prediction.theta[:, 1, 2] == prediction.logits[:, 0]).all()
    return prediction.logits[:, 0].astype(int).tolist()


def submitted(batcher: Batcher, first: int, count: int, **options: float) -> Reservation:
    reservation = batcher.admit(count)
    reservation.submit(images(first, count), **options)
    return reservation


def new(clock: Clock, *, max_batch: int = 4, max_wait_s: float = 1.0, max_queue: int = 100) -> Batcher:
    return Batcher(max_batch=max_batch, max_wait_s=max_wait_s, max_queue=max_queue, clock=clock)


def test_a_batch_leaves_when_it_is_full_or_the_oldest_has_waited() -> None:
    clock = Clock()
    batcher = new(clock)
    assert batcher.due_in() is None
    submitted(batcher, 0, 1)
    assert batcher.due_in() == 1.0
    clock.now += 0.75
    submitted(batcher, 1, 2)
    assert batcher.due_in() == 0.25
    submitted(batcher, 3, 1)
    assert batcher.due_in() == 0.0
    assert sum(part.stop - part.start for part in run(batcher)) == 4
    submitted(batcher, 9, 1)
    assert batcher.due_in() == 1.0
    clock.now += 1.5
    assert batcher.due_in() == 0.0
    assert run(batcher)[0].waited_s == 1.5


def test_a_request_stays_together_and_a_larger_one_is_split() -> None:
    batcher = new(Clock())
    first, second, large = submitted(batcher, 0, 3), submitted(batcher, 10, 3), submitted(batcher, 20, 9)
    cuts = []
    while parts := run(batcher):
        cuts.append([(part.reservation, part.stop - part.start) for part in parts])
    assert cuts == [[(first, 3)], [(second, 3), (large, 1)], [(large, 4)], [(large, 4)]]
    assert answer(first) == [0, 1, 2]
    assert answer(large) == list(range(20, 29))


def test_a_request_that_was_split_waited_until_its_first_piece() -> None:
    clock = Clock()
    batcher = new(clock)
    large = submitted(batcher, 0, 6)
    clock.now += 0.25
    run(batcher)
    clock.now += 2.0
    run(batcher)
    assert answer(large) == list(range(6))
    assert large.queued_s == 0.25


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    max_batch=st.integers(1, 16),
    leaves=st.sets(st.integers(0, 29)),
    data=st.data(),
)
def test_everyone_gets_the_answers_to_their_own_images(
    sizes: list[int], max_batch: int, leaves: set[int], data: st.DataObject
) -> None:
    batcher = new(Clock(), max_batch=max_batch, max_queue=sum(sizes))
    reservations, first, ran = [], 0, 0
    for size in sizes:
        reservations.append((first, submitted(batcher, first, size)))
        first += size
        if data.draw(st.booleans()):
            ran += sum(part.stop - part.start for part in run(batcher))
    for index in leaves & set(range(len(sizes))):
        reservations[index][1].give_up()
    while parts := run(batcher):
        ran += sum(part.stop - part.start for part in parts)
        assert sum(part.stop - part.start for part in parts) <= max_batch
    assert batcher.waiting == 0
    for index, (start, reservation) in enumerate(reservations):
        if reservation.future.done():
            assert answer(reservation) == list(range(start, start + reservation.count))
        else:
            assert index in leaves
    assert ran == sum(reservation.taken for _, reservation in reservations)


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room() -> None:
    batcher = new(Clock(), max_queue=5)
    waiting = submitted(batcher, 0, 3)
    held = batcher.admit(2)  # room that is held counts, before any pixel is there
    with pytest.raises(Refusal) as refused:
        batcher.admit(1)
    assert refused.value.reason is Reason.OVERLOADED
    held.give_up()
    held.give_up()
    assert batcher.waiting == 3
    batcher.admit(2).give_up()
    waiting.give_up()
    assert batcher.take() == []
    assert batcher.waiting == 0
    for count in (0, 6):
        with pytest.raises(Refusal) as refused:
            batcher.admit(count)
        assert refused.value.reason is Reason.INVALID


def test_who_left_or_is_late_costs_no_engine_time() -> None:
    clock = Clock()
    batcher = new(clock)
    left, late, last = submitted(batcher, 0, 1), submitted(batcher, 1, 2, expires_at=100.5), submitted(batcher, 3, 1)
    left.give_up()
    clock.now = 100.5
    assert [part.reservation for part in run(batcher)] == [last]
    with pytest.raises(Refusal) as refused:
        late.future.result(timeout=0)
    assert refused.value.reason is Reason.EXPIRED
    assert not left.future.done()
    assert late.given_up, "else its files would still be decoded"
    assert batcher.waiting == 0


def test_an_engine_that_fails_fails_its_batch_alone() -> None:
    batcher = new(Clock(), max_batch=2)
    split, other = submitted(batcher, 0, 5), submitted(batcher, 10, 1)
    for part in batcher.take():
        fail(part.reservation, ValueError("broken"))
    while run(batcher):
        pass
    with pytest.raises(ValueError, match="broken"):
        split.future.result(timeout=0)
    assert split.taken == 2
    assert answer(other) == [10]


def test_a_closed_batcher_admits_nothing_and_answers_what_it_has() -> None:
    batcher = new(Clock(), max_wait_s=1000)
    held, waiting = batcher.admit(1), submitted(batcher, 0, 1)
    batcher.close()
    with pytest.raises(Refusal) as refused:
        batcher.admit(1)
    assert refused.value.reason is Reason.UNAVAILABLE
    assert batcher.wait()
    run(batcher)
    held.submit(images(7, 1))  # its file was still being decoded
    assert batcher.wait()
    run(batcher)
    assert not batcher.wait()
    assert (answer(waiting), answer(held)) == ([0], [7])


def test_images_that_are_not_those_announced_are_a_defect() -> None:
    with pytest.raises(ValueError, match="2 images in a reservation for 1"):
        new(Clock()).admit(1).submit(images(0, 2))


@pytest.fixture
def working() -> Iterator[Batcher]:
    """A batcher on the real clock, with the thread that empties it."""
    batcher = Batcher(max_batch=8, max_wait_s=0.002, max_queue=64)

    def work() -> None:
        while batcher.wait():
            run(batcher)

    thread = threading.Thread(target=work)
    thread.start()
    yield batcher
    batcher.close()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_many_threads_get_their_own_answers(working: Batcher) -> None:
    def client(number: int) -> int:
        random, refused = np.random.default_rng(number), 0
        for _ in range(100):
            count, first = int(random.integers(1, 20)), int(random.integers(0, 60_000))
            try:
                reservation = working.admit(count)
            except Refusal:
                refused += 1
                continue
            future = reservation.submit(images(first, count))
            if random.random() < 0.2:
                reservation.give_up()
            else:
                assert future.result(timeout=10).logits[:, 0].astype(int).tolist() == list(range(first, first + count))
        return refused

    with ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(client, range(8)))
    assert sum(refused) < 800
    assert working.waiting == 0


def test_the_lock_is_handed_on_in_the_order_of_asking() -> None:
    lock, order, threads = FairLock(), [], []

    def take(number: int) -> None:
        with lock:
            order.append(number)

    with lock:
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while lock.asked < number + 2:
                pass
        assert order == []
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
