"""A race: several things timed in turn within one loop, more than once, so that their differences can be told.

A loop's rounds share one opening of every engine: where its memory came to lie, what else the machine does that minute.
That moves a latency by a few per cent from one run to the next, and no interval over rounds knows of it. So a race has
several sittings, each with all engines opened anew, and the bootstrap draws sittings first and rounds within them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.interval import Interval
from lstn.runtime.latency import RESAMPLES, Milliseconds, draw_stretches, measure

SITTINGS = 3
"""How often everything is opened anew."""

Run: TypeAlias = Callable[[], object]
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
    open: Callable[[], AbstractContextManager[Run]]

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

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def time_ms(self, name: tuple[str, str]) -> Interval:
        """Return the median time of one call, in ms."""
        return self._interval([samples[:, self.names.index(name)] for samples in self.sittings])

    def ratio(self, name: tuple[str, str], reference: tuple[str, str]) -> Interval:
        """Return the median over rounds of how many times as long `name` took as `reference`."""
        own, other = self.names.index(name), self.names.index(reference)
        return self._interval([samples[:, own] / samples[:, other] for samples in self.sittings])

    def sum_ms(self, weights: Mapping[tuple[str, str], float]) -> Interval:
        """Return the median over rounds of a weighted sum of times, in ms: a difference is {this: 1, that: -1}."""
        columns = [self.names.index(name) for name in weights]
        factors = np.array(list(weights.values()))
        return self._interval([samples[:, columns] @ factors for samples in self.sittings])

    def _interval(self, rounds: Sequence[_Rounds]) -> Interval:
        return median_interval(rounds, seed=self.seed)


def run_race(entrants: Sequence[Entrant], *, seconds: float, seed: int, sittings: int = SITTINGS) -> Race:
    """Time all entrants in turn; `seconds` is about how long each is timed, all sittings together."""
    found = []
    for sitting in range(sittings):
        with ExitStack() as stack:
            runs = [stack.enter_context(entrant.open()) for entrant in entrants]
            found.append(measure(runs, seconds=seconds * len(runs) / sittings, seed=seed + sitting))
    return Race(tuple(entrant.name for entrant in entrants), tuple(found), seed)


def median_interval(sittings: Sequence[_Rounds], *, seed: int) -> Interval:
    """Return the median over the rounds of all sittings, (R,) each, and its interval by a bootstrap on two levels.

    Each draw takes as many sittings as there are, with replacement, and of each stretches of rounds: neighbours share
    the state of the machine (moving blocks, Künsch 1989).
    """
    random = np.random.default_rng(seed)
    count = len(sittings)
    medians = np.zeros(RESAMPLES)
    for draw in range(RESAMPLES):
        chosen = [sittings[index] for index in random.integers(0, count, size=count)]
        medians[draw] = np.median(
            np.concatenate([rounds[draw_stretches(len(rounds), 1, random)[0]] for rounds in chosen])
        )
    low, high = np.percentile(medians, (2.5, 97.5))
    return Interval(float(np.median(np.concatenate(sittings))), float(low), float(high))
