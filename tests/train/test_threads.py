"""The number of threads follows what steps take, with a clock of ours."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from short_runs import options, run

from lstn.nn.checkpoint import read_tensors
from lstn.train.computing import threads as threads_module
from lstn.train.computing.threads import Threads, threads_here
from lstn.train.runs.run_state import LAST

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def used(threads: Threads, seconds: Callable[[int], float], steps: int = 40) -> list[int]:
    """Take steps that last `seconds` with so many threads; return the number of threads of each."""
    counts, clock = [], [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: clock[0])
        for _ in threads.over(range(steps)):
            counts.append(torch.get_num_threads())
            clock[0] += seconds(counts[-1])
    return counts


def test_a_quiet_machine_keeps_all_cores_after_sixteen_steps() -> None:
    threads = Threads(2)
    assert used(threads, lambda count: 1 / count) == [2, 1] * 8 + [2] * 24
    assert threads.chosen == 2


def test_a_busy_machine_is_left_with_one_thread() -> None:
    threads = Threads(8)
    counts = used(threads, lambda count: 0.1 * count, steps=60)
    assert counts == [8, 4] * 8 + [4, 2] * 8 + [2, 1] * 8 + [1] * 12


@given(st.integers(1, 64), st.integers(1, 64))
def test_the_best_of_the_halves_or_fewer_wins_where_time_has_one_valley(most: int, best: int) -> None:
    assume(best <= most)

    def seconds(count: int) -> float:
        return abs(count - best) + 1.0

    threads = Threads(most)
    used(threads, seconds, steps=130)
    halves = [most >> shift for shift in range(7) if most >> shift]
    fastest = min(halves, key=seconds)
    assert threads.chosen is not None
    assert threads.chosen <= fastest
    assert seconds(threads.chosen) <= 1.1 * seconds(fastest)


@pytest.mark.parametrize(("gain", "chosen"), [(1.09, 1), (1.11, 2)])
def test_twice_as_many_threads_must_be_a_tenth_faster(gain: float, chosen: int) -> None:
    threads = Threads(2)
    used(threads, lambda count: gain if count == 1 else 1.0)
    assert threads.chosen == chosen


def test_the_first_step_with_a_number_is_not_counted() -> None:
    """It prepares kernels: here, of one thread, for a minute."""
    threads, seen = Threads(2), set[int]()

    def seconds(count: int) -> float:
        fresh = count not in seen
        seen.add(count)
        return 60.0 if fresh and count == 1 else 2.0 / (3 - count)

    used(threads, seconds)
    assert threads.chosen == 1


def test_a_moments_load_decides_nothing() -> None:
    """Three of seven steps take ten times as long with all threads, which are faster all the same."""
    threads, taken = Threads(2), [0]

    def seconds(count: int) -> float:
        taken[0] += 1
        return 5.0 if count == 2 and 3 <= taken[0] <= 8 else 1 / count

    used(threads, seconds)
    assert threads.chosen == 2


@pytest.mark.parametrize(
    ("given", "quota", "chosen"), [("3", None, 3), ("2", None, 2), ("2", 2, None), (None, 2, None)]
)
def test_what_a_user_sets_is_not_measured(
    given: str | None, quota: int | None, chosen: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OMP_NUM_THREADS is a user's, unless it is what a container's quota allows: then lstn has set it."""
    monkeypatch.setattr(threads_module, "core_quota", lambda: quota)
    monkeypatch.setattr(threads_module, "usable_cores", lambda: 2)
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        torch.set_num_threads(int(given))
    assert threads_here(CPU, 0).chosen == chosen


@pytest.mark.parametrize(("stored", "chosen"), [(1, 1), (2, 2), (1000, 2), (0, None), (-5, None)])
def test_a_resumed_run_keeps_its_number(stored: int, chosen: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "usable_cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_here(CPU, stored).chosen == chosen
    if chosen is not None:
        assert torch.get_num_threads() == chosen


def test_a_run_keeps_what_it_chose_when_it_is_resumed(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six steps an epoch: the third decides."""
    monkeypatch.setattr(threads_module, "usable_cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def kept(epochs: int) -> int:
        run(options(data, epochs=epochs), tmp_path / "run", resume=epochs > 3)
        state = json.loads(read_tensors(tmp_path / "run" / LAST)[1]["lstn.state"])
        return int(state["threads"])

    chosen = kept(3)
    assert chosen in (1, 2)
    monkeypatch.setattr(Threads, "_judge", lambda self: pytest.fail("measured again"))
    assert kept(5) == chosen
