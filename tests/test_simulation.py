"""Simulated servers and writers: a sample of `benchmarks/simulation.py`, its scheduler, and defects put in."""

import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.simulation import found_after, simulated
from benchmarks.support.simulation.sabotages import SERVER, TWO_ANSWERS, WRITER, Edit, edited, sabotaged
from benchmarks.support.simulation.scheduler import Scheduler, StuckError
from benchmarks.support.simulation.server_world import served
from benchmarks.support.simulation.threads import SimulatedLock, SimulatedQueue, SimulatedThreading
from benchmarks.support.simulation.writer_world import written
from lstn.runtime.serving.models import batcher
from lstn.runtime.serving.models.batcher import Batcher, fail
from lstn.runtime.serving.requests.refusal import Refusal

ROOT = Path(__file__).parents[1]
SEEDS = range(1000, 1040)
LATE = {"a drain that doesn't wait", "rows of who has left", "turns without an order"}
"""Defects that take hundreds of seeds to find, as the benchmark does."""

PRINT_TRACES = """
import sys
from pathlib import Path
from benchmarks.support.simulation.server_world import served
print(*[served(seed, Path(sys.argv[1])).trace for seed in range(6)])
"""


@contextmanager
def strands(seed: int) -> Iterator[tuple[Scheduler, Any]]:
    scheduler = Scheduler(seed)
    try:
        yield scheduler, SimulatedThreading(scheduler)
    finally:
        scheduler.end()


def test_a_sample_of_seeds_is_right(tmp_path: Path) -> None:
    result = simulated(SEEDS, tmp_path)
    assert result["wrong"] == []
    assert result["answers"]["answered"] > 100
    assert result["images"]["written"] > 100
    assert {"a stop under load", "a reload", "a power cut", "a piece that is lost"} <= set(result["faults"])


def test_a_seed_takes_the_same_steps_in_every_process(tmp_path: Path) -> None:
    here = [served(seed, tmp_path).trace for seed in range(6)]
    command = [sys.executable, "-c", PRINT_TRACES, str(tmp_path)]
    told = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert [int(word) for word in told.stdout.split()] == here
    assert len(set(here)) == 6
    assert written(3, tmp_path).trace == written(3, tmp_path).trace


@pytest.mark.parametrize("name", [name for name in SERVER if name not in LATE])
def test_a_defect_of_the_server_is_found(name: str, tmp_path: Path) -> None:
    seeds, _ = found_after(served, SERVER[name], tmp_path, 300)
    assert seeds is not None


@pytest.mark.parametrize("name", WRITER)
def test_a_defect_of_the_writer_is_found(name: str, tmp_path: Path) -> None:
    seeds, _ = found_after(written, WRITER[name], tmp_path, 300)
    assert seeds is not None


def test_an_edit_that_fits_nowhere_is_no_edit() -> None:
    with pytest.raises(ValueError, match="enqueue has 'no such line' 0 times"):
        edited(Edit(Batcher, "enqueue", "no such line", "pass"))


def taken_in(order: tuple[int, int], seed: int) -> None:
    """Two threads take two locks, the second one in `order`."""
    with strands(seed) as (scheduler, threading):
        locks = [SimulatedLock(scheduler), SimulatedLock(scheduler)]

        def take(first: int, second: int) -> None:
            with locks[first], locks[second]:
                pass

        threads = [threading.Thread(target=take, args=each, name="t", daemon=True) for each in ((0, 1), order)]
        for thread in threads:
            thread.start()
        scheduler.sleep(100)
        if scheduler.running:
            scheduler.wait()  # for ever


def test_locks_in_two_orders_are_a_deadlock_for_some_seeds_and_in_one_order_for_none() -> None:
    stuck = 0
    for seed in range(60):
        taken_in((0, 1), seed)
        try:
            taken_in((1, 0), seed)
        except StuckError as error:
            stuck += str(error) == "waiting for ever: loop, t, t"
    assert 0 < stuck < 60


def counted_to(seed: int, *, locked: bool) -> int:
    """Three threads count to 15 together, one step at a time."""
    with strands(seed) as (scheduler, threading):
        lock, count = SimulatedLock(scheduler), [0]

        def step() -> None:
            seen = count[0]
            scheduler.pause()
            count[0] = seen + 1

        def work() -> None:
            for _ in range(5):
                if locked:
                    with lock:
                        step()
                else:
                    step()

        for _ in range(3):
            threading.Thread(target=work, name="t", daemon=True).start()
        scheduler.sleep(100)
        return count[0]


def test_a_lock_keeps_others_out() -> None:
    assert {counted_to(seed, locked=True) for seed in range(40)} == {15}
    assert min(counted_to(seed, locked=False) for seed in range(40)) < 15


def deadline_and_failure(seed: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, BaseException]]:
    """A request's deadline passes in the queue in the moment in which the engine fails on its first piece."""
    with strands(seed) as (scheduler, threading):
        for module in (batcher, concurrent.futures._base):
            monkeypatch.setattr(module, "threading", threading)
        queue = Batcher(max_batch=2, max_wait_s=0, max_queue=10, clock=scheduler.clock)
        large = queue.admit(4)
        large.submit(np.zeros((4, 1, 1, 3), np.uint8), expires_at=1.0)
        queue.take()
        for work in (queue.take, lambda: fail(large, ValueError("broken"))):
            threading.Thread(
                target=lambda work: (scheduler.sleep(1), work()), args=(work,), name="t", daemon=True
            ).start()
        scheduler.sleep(2)
        assert isinstance(large.future.exception(0), ValueError | Refusal)
        return scheduler.crashes


def test_a_request_that_two_threads_answer_harms_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [crash for seed in range(100) for crash in deadline_and_failure(seed, monkeypatch)] == []
    with sabotaged(TWO_ANSWERS):
        assert [crash for seed in range(100) for crash in deadline_and_failure(seed, monkeypatch)] != []


def test_an_hour_passes_at_once_and_whoever_is_woken_knows_it() -> None:
    with strands(1) as (scheduler, threading):
        changed, told = threading.Condition(), []

        def wait() -> None:
            with changed:
                told.append((changed.wait(3600), scheduler.now))
                told.append((changed.wait(3600), scheduler.now))

        threading.Thread(target=wait, name="t", daemon=True).start()
        scheduler.sleep(5000)
        with changed:
            changed.notify()
        scheduler.sleep(5000)
    assert [woken for woken, _ in told] == [False, True]
    assert told[0][1] >= 3600
    assert 5000 <= told[1][1] < 5001


def test_a_queue_keeps_its_order_and_a_thread_that_fails_is_noticed() -> None:
    with strands(2) as (scheduler, threading):
        items: SimulatedQueue[int] = SimulatedQueue(scheduler)
        got: list[int] = []

        def take() -> None:
            for _ in range(20):
                got.append(items.get())
            raise ValueError("done")

        threading.Thread(target=take, name="taker", daemon=True).start()
        for number in range(20):
            items.put(number)
        scheduler.sleep(1)
        assert got == list(range(20))
        assert [(name, str(error)) for name, error in scheduler.crashes] == [("taker", "done")]
