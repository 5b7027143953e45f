"""A race: several things timed in turn within one loop, more than once, so that their differences can be told.

A loop's rounds share one opening of every engine: where its memory came to lie, what else the machine does that minute.
That moves a latency by a few per cent from one run to the next, and no interval over rounds knows of it. So a race has
several sittings, each with all engines opened anew, and the bootstrap draws sittings first and rounds within them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.interval import Interval
from lstn.runtime.bench.latency import RESAMPLES, Milliseconds, draw_stretches, measure_latency

SITTINGS = 3
"""How often everything is opened anew."""

_AT_ONCE = 50

TimedCall: TypeAlias = Callable[[], object]
"""One call of a thing that is timed."""

_Rounds: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Entrant:
    """One thing to time.

    subject: what it computes, such as `lstn` or `grid`
    via:     what runs it, such as `ONNX Runtime`
    open:    makes it ready, for a `with`
    """

    subject: str
    via: str
    open: Callable[[], AbstractContextManager[TimedCall]]

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from the others of a race."""
        return self.subject, self.via


@dataclass(frozen=True, slots=True, eq=False)
class Race:
    """What a race came to.

    names:    (subject, via) of each of E entrants
    sittings: (R, E) ms each; all entrants of a round ran within it
    """

    names: tuple[tuple[str, str], ...]
    sittings: tuple[Milliseconds, ...]
    seed: int
    _known: dict[object, Interval] = field(default_factory=dict, init=False, repr=False)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def time_ms(self, name: tuple[str, str]) -> Interval:
        """Return the median time of one call, in ms."""
        return self.sum_ms({name: 1})

    def ratio(self, name: tuple[str, str], reference: tuple[str, str]) -> Interval:
        """Return the median over rounds of how many times as long `name` took as `reference`."""
        own, other = self.names.index(name), self.names.index(reference)
        return self._interval((name, reference), lambda samples: samples[:, own] / samples[:, other])

    def sum_ms(self, weights: Mapping[tuple[str, str], float]) -> Interval:
        """Return the median over rounds of a weighted sum of times, in ms: a difference is {this: 1, that: -1}."""
        columns = [self.names.index(name) for name in weights]
        factors = np.array(list(weights.values()))
        return self._interval(tuple(weights.items()), lambda samples: samples[:, columns] @ factors)

    def _interval(self, key: object, figure: Callable[[Milliseconds], _Rounds]) -> Interval:
        """A report asks for the same figures in many places."""
        if key not in self._known:
            self._known[key] = median_interval([figure(samples) for samples in self.sittings], seed=self.seed)
        return self._known[key]


def run_race(entrants: Sequence[Entrant], *, seconds: float, seed: int, sittings: int = SITTINGS) -> Race:
    """Time all entrants in turn; `seconds` is about how long each is timed, all sittings together."""
    found = []
    for sitting in range(sittings):
        with ExitStack() as stack:
            runs = [stack.enter_context(entrant.open()) for entrant in entrants]
            found.append(measure_latency(runs, seconds=seconds * len(runs) / sittings, seed=seed + sitting))
    return Race(tuple(entrant.name for entrant in entrants), tuple(found), seed)


def median_interval(sittings: Sequence[_Rounds], *, seed: int) -> Interval:
    """Return the median over the rounds of all sittings, (R,) each, and its interval by a bootstrap on two levels.

    Each draw takes as many sittings as there are, with replacement, and of each stretches of rounds: neighbours share
    the state of the machine (moving blocks, Künsch 1989).
    """
    random = np.random.default_rng(seed)
    count, least = len(sittings), min(len(rounds) for rounds in sittings)
    medians = []
    for _ in range(RESAMPLES // _AT_ONCE):  # in pieces, for memory
        drawn = np.zeros((_AT_ONCE, count, least))
        picked = random.integers(0, count, size=(_AT_ONCE, count))
        for index, rounds in enumerate(sittings):
            draws, places = np.nonzero(picked == index)
            drawn[draws, places] = rounds[draw_stretches(len(rounds), len(draws), random)[:, :least]]
        medians.append(np.median(drawn.reshape(_AT_ONCE, -1), axis=1))
    low, high = np.percentile(np.concatenate(medians), (2.5, 97.5))
    return Interval(float(np.median(np.concatenate(sittings))), float(low), float(high))
