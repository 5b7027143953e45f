"""Scheduler of a simulated process: of its threads one runs at a time, a seed says which, and the clock is a number.

Time passes only when every thread waits. Code that runs under it is the code of the server: the modules that it comes
from get `threads.SimulatedThreading` in place of `threading`, so that each lock, condition and queue is a place where
another thread may go on. Two runs of one seed take the same steps. The threads are greenlets of one real thread: to
change takes half a microsecond, and no real thread comes in between.
"""

import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from math import inf

from greenlet import getcurrent, greenlet

_MOST_STEPS = 60_000


class StuckError(Exception):
    """No thread can ever go on, or all of them go on for ever."""


class Over(BaseException):
    """Raised in the threads of a simulation that is at its end, wherever they wait."""


class Strand:
    """One thread of the simulated process."""

    def __init__(self, name: str, thread: greenlet) -> None:
        self.name = name
        self.thread = thread
        self.waiting = False
        self.woken = False
        self.until = inf
        self.ended = False


class Scheduler:
    """Runs the strands of one simulated process, in the order that `chance` says.

    now:     seconds since its start
    chance:  where everything random comes from
    crashes: what ended a strand that shouldn't have
    watch:   called at every change of strands
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self.trace = 0
        self.crashes: list[tuple[str, BaseException]] = []
        self.watch: Callable[[], None] = lambda: None
        self.stalls = 0
        self._over = False
        self._failure = ""
        self._main = self.current = Strand("loop", getcurrent())
        self._strands = [self._main]
        self._change = self.chance.choice((0.02, 0.1, 0.3, 0.6))
        self._stall = self.chance.choice((0.0, 0.0, 0.002, 0.02))

    @property
    def over(self) -> bool:
        """Whether the simulation has ended; locks let everyone pass then."""
        return self._over

    def clock(self) -> float:
        """Return the simulated time, in seconds."""
        return self.now

    def pause(self) -> None:
        """A place where the strand may lose its turn, or stall, as a thread that the system doesn't run for a while."""
        if self._over:
            return
        if self.chance.random() < self._stall:
            self.stalls += 1
            self.wait(self.now + self.chance.expovariate(30))
        elif self.chance.random() < self._change:
            self._hand_over()

    def wait(self, until: float = inf) -> bool:
        """Let the strand sleep until it is woken, or until that time; return whether it was woken."""
        if self._over:
            raise Over
        strand = self.current
        strand.waiting, strand.woken, strand.until = True, False, until
        self._hand_over()
        return strand.woken

    def sleep(self, seconds: float) -> None:
        """Let time pass for the strand."""
        self.wait(self.now + seconds)

    def wake(self, strand: Strand) -> None:
        """Let a strand that waits go on, in its turn."""
        if strand.waiting:
            strand.waiting, strand.woken = False, True

    def begin(self, name: str, work: Callable[[], object]) -> Strand:
        """Start a strand that does `work`."""
        strand = Strand(name, greenlet(lambda: self._run(strand, work), parent=self._main.thread))
        self._strands.append(strand)
        return strand

    def end(self) -> None:
        """End what still runs: every strand unwinds from where it waits."""
        self._over = True
        for strand in self._strands[1:]:
            if not strand.ended:
                self.current = strand
                with suppress(Over):  # of one that never had a turn
                    strand.thread.throw(Over)
        self.current = self._main

    @property
    def running(self) -> list[str]:
        """The names of the strands that haven't ended, without the event loop's."""
        return [strand.name for strand in self._strands[1:] if not strand.ended]

    def _run(self, strand: Strand, work: Callable[[], object]) -> None:
        try:
            work()
        except Over:
            pass
        except Exception as error:  # others, such as that of Ctrl-C, end the simulation
            if not self._over:
                self.crashes.append((strand.name, error))
        strand.ended = True
        if not self._over:
            self._next()  # the event loop's strand, which gets the turn where a strand ends, passes it on

    def _hand_over(self) -> None:
        strand = self.current
        self._next()
        while self.current is not strand:
            self.current.thread.switch()
        if self._failure and strand is self._main:
            raise StuckError(self._failure)

    def _next(self) -> None:
        """Choose who runs, `current`; if nobody can, the event loop's strand does, to say so."""
        self.watch()
        self.steps += 1
        ready = [each for each in self._strands if not each.ended and not (each.waiting and each.until > self.now)]
        if not ready:
            waiting = [each for each in self._strands if not each.ended]
            self.now = min((each.until for each in waiting), default=inf)
            ready = [each for each in waiting if each.until <= self.now < inf]
        if not ready or self.steps > _MOST_STEPS:
            names = ", ".join(each.name for each in self._strands if not each.ended)
            self._failure = f"waiting for ever: {names}" if not ready else f"running for ever: {names}"
            chosen = self._main
        else:
            chosen = ready[int(self.chance.random() * len(ready))]
        chosen.waiting = False
        self.trace = zlib.crc32(b"%d %r" % (self._strands.index(chosen), self.now), self.trace)
        self.current = chosen
