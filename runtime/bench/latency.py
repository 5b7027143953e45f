"""Timings of several things, taken in turn; and what they say: percentiles, and ratios with an interval.

Machines drift: they heat up, share cores, change clocks. Whatever is timed one after the other is compared across that
drift. So one loop runs everything once a round, in a new order each round, and the comparison is made within rounds.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.interval import Interval
from lstn.machine.collector import collector_at_rest

Milliseconds: TypeAlias = npt.NDArray[np.float64]
"""(R, E) float64: R rounds of E things timed, or (R,) of one."""

MAX_ROUNDS = 10_000
"""More say nothing new, and every one is kept."""

RESAMPLES = 1000
"""Of a bootstrap."""

_MIN_ROUNDS = 5
_WARM_UP_RUNS = 3
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over the rounds, in ms, and how many rounds there were."""

    rounds: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


def measure_latency(
    runs: Sequence[Callable[[], object]], *, seconds: float, seed: int, clock: Callable[[], int] = time.perf_counter_ns
) -> Milliseconds:
    """Time each of E `runs` once a round, in a random order, for about `seconds`; return (R, E) ms.

    Each runs a few times before, for caches and lazy allocation. At least 5 rounds are made, and at most MAX_ROUNDS.
    Python's garbage collector rests meanwhile.

    clock: returns nanoseconds
    """
    order = np.random.default_rng(seed)
    for run in runs:
        for _ in range(_WARM_UP_RUNS):
            run()
    rounds: list[list[float]] = []
    end = clock() + int(seconds * 1e9)
    gc.collect()
    with collector_at_rest():
        while len(rounds) < _MIN_ROUNDS or (clock() < end and len(rounds) < MAX_ROUNDS):
            taken = [0.0] * len(runs)
            for index in order.permutation(len(runs)):
                started = clock()
                runs[index]()
                taken[index] = (clock() - started) / 1e6
            rounds.append(taken)
    return np.array(rounds)


def summarize(samples: Milliseconds) -> Latency:
    """Percentiles of (R,) ms, interpolated between samples."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Latency(len(samples), p50, p90, p99, float(samples.mean()))


def ratio(samples: Milliseconds, reference: Milliseconds, *, seed: int) -> Interval:
    """Return how many times as long as a reference, by the medians of (R,) ms each; both timed in the same rounds.

    The interval is a paired moving-block bootstrap (Künsch 1989): whole stretches of rounds are drawn, the same for
    both, because neighbouring rounds share the state of the machine. Stretches are R ** (1/3) rounds long.
    """
    count = len(samples)
    random = np.random.default_rng(seed)
    medians = []
    for _ in range(RESAMPLES // _AT_ONCE):  # in pieces, for memory
        drawn = draw_stretches(count, _AT_ONCE, random)
        medians.append(np.median(samples[drawn], axis=1) / np.median(reference[drawn], axis=1))
    low, high = np.percentile(np.concatenate(medians), (2.5, 97.5))
    return Interval(float(np.median(samples) / np.median(reference)), float(low), float(high))


def draw_stretches(count: int, draws: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw rounds for a moving-block bootstrap: (draws, count) numbers of rounds, in stretches of count ** (1/3)."""
    length = max(1, round(count ** (1 / 3)))
    starts = random.integers(0, count - length + 1, size=(draws, -(-count // length), 1))
    return np.asarray((starts + np.arange(length)).reshape(draws, -1)[:, :count])
