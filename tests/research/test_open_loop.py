"""An open load against a queue that is worked out by hand, on a clock that only the load moves."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.errors import LstnError
from lstn.research.tune.open_loop import (
    Moments,
    OpenLoad,
    RequestTimes,
    due_moments,
    send_openly,
    times_of,
    typical_times,
)

T = TypeVar("T")


class OwnTime(asyncio.SelectorEventLoop):
    """A loop whose clock stands still as long as there is work, and then is at once where the next timer is due."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        waiting: Any = self
        if not waiting._ready and waiting._scheduled:
            self.now = max(self.now, waiting._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


def timed(work: Coroutine[Any, Any, T]) -> T:
    loop = OwnTime()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def one_by_one(due_s: Moments, takes_s: float) -> list[float]:
    """When a server that works on one request at a time is done with each."""
    done: list[float] = []
    for due in due_s:
        done.append(max([due, *done[-1:]]) + takes_s)
    return done


def queued(due_s: Moments, takes_s: float, *, patience_s: float = 1e9) -> OpenLoad:
    async def send() -> OpenLoad:
        turn = asyncio.Lock()

        async def ask(number: int) -> bool:
            async with turn:
                await asyncio.sleep(takes_s)
            return True

        return await send_openly(ask, due_s, seconds=1.0, patience_s=patience_s)

    return timed(send())


@given(st.floats(1, 300), st.floats(0.0001, 0.05), st.integers(0, 9))
def test_a_slow_server_makes_later_requests_wait_and_no_fewer(rate: float, takes_s: float, seed: int) -> None:
    due_s = due_moments(rate, seconds=1.0, warm_up_s=0.3, seed=seed)
    np.testing.assert_allclose(queued(due_s, takes_s).done_s, one_by_one(due_s, takes_s), rtol=0, atol=1e-6)


def test_what_takes_too_long_is_given_up() -> None:
    due_s = np.array([0.0, 0.1, 0.2])
    found = queued(due_s, 0.4, patience_s=0.7)  # they would be done after 0.4, 0.8 and 1.2 s; the last is due at 0.2 s
    np.testing.assert_allclose(found.done_s, [0.4, 0.8, np.inf])


def test_a_refusal_is_not_an_answer_and_a_failure_is_raised() -> None:
    async def refuse_every_other(number: int) -> bool:
        return number % 2 == 0

    async def fail(number: int) -> bool:
        raise LstnError("gone")

    due_s = np.array([-0.1, 0.0, 0.5, 0.6])
    found = timed(send_openly(refuse_every_other, due_s, seconds=1.0))
    assert list(np.isfinite(found.done_s)) == [True, False, True, False]
    assert times_of(found).unanswered == 2
    with pytest.raises(LstnError, match="gone"):
        timed(send_openly(fail, due_s, seconds=1.0))


LATENCIES = st.lists(st.one_of(st.floats(0.001, 2.0), st.just(float("inf"))), min_size=1, max_size=60)


@given(LATENCIES, st.integers(0, 9))
def test_percentiles_are_those_of_the_measured_answers(latencies_s: list[float], seed: int) -> None:
    """By a loop over all requests; the warm-up is not measured, but its late answers are among those a second."""
    due_s = np.sort(np.random.default_rng(seed).uniform(-0.3, 1.0, len(latencies_s)))
    load = OpenLoad(due_s, due_s + latencies_s, 0.9)
    pairs = list(zip(load.due_s, load.done_s, strict=True))
    measured = [(due, done) for due, done in pairs if due >= 0]
    latencies = [1000 * (done - due) for due, done in measured if done < float("inf")]
    found = times_of(load)
    assert (found.requests, found.unanswered) == (len(measured), len(measured) - len(latencies))
    assert found.answered_per_s == pytest.approx(sum(0 <= done < 0.9 for _, done in pairs) / 0.9)
    expected = tuple(np.percentile(latencies, (50, 99))) if latencies else (np.inf, np.inf)
    assert (found.p50_ms, found.p99_ms) == pytest.approx(expected)


def test_one_round_of_three_that_was_disturbed_says_little() -> None:
    calm, other, disturbed = RequestTimes(9, 0, 9.0, 2.0, 5.0), RequestTimes(9, 0, 9.5, 3.0, 4.0), RequestTimes(
        9, 1, 5.0, 70.0, float("inf")
    )  # fmt: skip
    assert typical_times([calm, disturbed, other]) == RequestTimes(27, 1, 9.0, 3.0, 5.0)


@given(st.floats(1, 500), st.floats(0.1, 3), st.floats(0, 1), st.integers(0, 99))
def test_requests_are_due_at_the_rate_and_in_order(rate: float, seconds: float, warm_up_s: float, seed: int) -> None:
    due_s = due_moments(rate, seconds=seconds, warm_up_s=warm_up_s, seed=seed)
    assert (np.diff(due_s) >= 0).all()
    assert -warm_up_s <= due_s[0] <= due_s[-1] <= seconds
    assert (due_s >= 0).sum() == max(1, round(rate * seconds))
    assert (due_s < 0).sum() == round(rate * warm_up_s)


def test_gaps_are_those_of_a_poisson_process() -> None:
    """They are exponential: as long as 1 / rate in the mean and in their deviation, and a share of 1/e is longer."""
    gaps = np.diff(due_moments(1000.0, seconds=20.0, warm_up_s=0.0, seed=0))
    assert gaps.mean() == pytest.approx(1e-3, rel=0.01)
    assert gaps.std() == pytest.approx(1e-3, rel=0.03)
    assert (gaps > 1e-3).mean() == pytest.approx(np.exp(-1), abs=0.01)
