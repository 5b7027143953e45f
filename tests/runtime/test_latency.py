import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from lstn.runtime.bench.latency import MAX_ROUNDS, measure_latency, ratio, summarize


class Clock:
    """Nanoseconds that pass only when somebody works."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def work(self, milliseconds: Callable[[], float], log: list[str], name: str) -> Callable[[], None]:
        def run() -> None:
            log.append(name)
            self.now += round(milliseconds() * 1e6)

        return run


def steady(value: float) -> Callable[[], float]:
    return lambda: value


def test_each_round_times_everything_once_in_changing_order() -> None:
    clock, log = Clock(), []
    runs = [clock.work(steady(value), log, name) for value, name in ((1, "a"), (2, "b"), (4, "c"))]
    samples = measure_latency(runs, seconds=0.7, seed=0, clock=clock)
    np.testing.assert_array_equal(samples, np.tile([1.0, 2.0, 4.0], (100, 1)))
    rounds = ["".join(log[index : index + 3]) for index in range(9, len(log), 3)]
    assert {"".join(sorted(order)) for order in rounds} == {"abc"}
    assert len(set(rounds)) == 6
    assert log[:9] == list("aaabbbccc")  # the warm-up


def test_the_seed_decides_the_order() -> None:
    logs = []
    for seed in (1, 1, 2):
        clock, log = Clock(), []
        measure_latency([clock.work(steady(1), log, name) for name in "abc"], seconds=0.1, seed=seed, clock=clock)
        logs.append(log)
    assert logs[0] == logs[1] != logs[2]


def test_something_slow_still_runs_five_rounds_and_something_fast_stops() -> None:
    clock = Clock()
    assert len(measure_latency([clock.work(steady(60_000), [], "a")], seconds=1, seed=0, clock=clock)) == 5
    assert len(measure_latency([clock.work(steady(1e-3), [], "a")], seconds=60, seed=0, clock=clock)) == MAX_ROUNDS


def test_the_garbage_collector_rests_and_comes_back_even_after_an_error() -> None:
    seen = []
    measure_latency([lambda: seen.append(gc.isenabled())], seconds=0.01, seed=0)
    assert seen[:3] == [True] * 3
    assert not any(seen[3:])
    calls = iter([1, 2, 3])
    with pytest.raises(StopIteration):
        measure_latency([lambda: next(calls)], seconds=0.01, seed=0)
    assert gc.isenabled()


def test_percentiles_are_numpys() -> None:
    latency = summarize(np.arange(1.0, 102.0))
    assert (latency.rounds, latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.mean_ms) == (101, 51, 91, 100, 51)


def drifting(random: np.random.Generator, count: int, noise: float = 0.03) -> Iterator[np.ndarray]:
    """Two series of a mean of 10 ms that share a slow drift of 30 %, as of a machine that others use too."""
    drift = np.cumsum(random.normal(size=count))
    common = 10 * np.exp(0.15 * drift / np.abs(drift).max())
    while True:
        yield common * np.exp(noise * random.normal(size=count))


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    random, covered, widths = np.random.default_rng(0), 0, []
    for seed in range(100):
        series = drifting(random, 200)
        found = ratio(1.25 * next(series), next(series), seed=seed)
        covered += found.low <= 1.25 <= found.high
        widths.append(found.high - found.low)
    assert covered >= 92
    assert np.median(widths) < 0.06  # five times as narrow as the drift


def test_equal_things_are_seldom_called_different() -> None:
    random, different = np.random.default_rng(1), 0
    for seed in range(100):
        series = drifting(random, 200)
        found = ratio(next(series), next(series), seed=seed)
        different += not found.low <= 1 <= found.high
    assert different <= 8


def test_a_small_difference_shows_with_enough_rounds() -> None:
    series = drifting(np.random.default_rng(2), 5000)
    found = ratio(1.02 * next(series), next(series), seed=0)
    assert 1 < found.low <= found.value <= found.high < 1.04


def test_the_ratio_is_that_of_the_medians_and_repeats_with_its_seed() -> None:
    series = drifting(np.random.default_rng(3), 301)
    first, second = next(series), next(series)
    assert ratio(first, second, seed=5) == ratio(first, second, seed=5)
    assert ratio(first, second, seed=5).value == np.median(first) / np.median(second)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_rounds_gives_an_interval_all_the_same(count: int) -> None:
    series = drifting(np.random.default_rng(4), count + 1)
    found = ratio(next(series)[:count], next(series)[:count], seed=0)
    assert found.low <= found.value <= found.high
