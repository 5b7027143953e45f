"""Stand-ins for `threading`, `queue` and `time`, for modules that run under a `Scheduler`.

They keep the promises of the standard library and no more: which of several waiting threads gets a lock or a notice is
drawn, and a condition may wake up although nobody notified it, as POSIX allows.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from math import inf
from typing import Any, Generic, TypeVar

from benchmarks.support.simulation.scheduler import Scheduler, Strand

T = TypeVar("T")


class SimulatedLock:
    """A lock; reentrant like an RLock if that is asked for."""

    def __init__(self, scheduler: Scheduler, *, reentrant: bool = False) -> None:
        self._scheduler = scheduler
        self._reentrant = reentrant
        self._owner: Strand | None = None
        self._depth = 0
        self._entering: list[Strand] = []

    @property
    def free(self) -> bool:
        """Whether nobody holds it."""
        return self._owner is None

    def __enter__(self) -> bool:
        self._scheduler.pause()
        if not (self._reentrant and self._owner is self._scheduler.current):
            self._enter()
        self._depth += 1
        return True

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth <= 0:
            self._leave()
            self._scheduler.pause()

    def _enter(self) -> None:
        strand = self._scheduler.current
        while self._owner is not None and not self._scheduler.over:
            self._entering.append(strand)
            try:
                self._scheduler.wait()
            finally:
                self._entering.remove(strand)
        self._owner, self._depth = strand, 0

    def _leave(self) -> None:
        self._owner = None
        for strand in self._entering:
            self._scheduler.wake(strand)


class SimulatedCondition(SimulatedLock):
    """A condition with its reentrant lock. spurious: the share of waits that end without a notice."""

    def __init__(self, scheduler: Scheduler, *, spurious: float = 0.0) -> None:
        super().__init__(scheduler, reentrant=True)
        self._spurious = spurious
        self._waiters: list[Strand] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Give up the lock until there is a notice or time is over."""
        scheduler, strand, depth = self._scheduler, self._scheduler.current, self._depth
        until = inf if timeout is None else scheduler.now + timeout
        if scheduler.chance.random() < self._spurious:
            until = min(until, scheduler.now + scheduler.chance.expovariate(100))
        self._waiters.append(strand)
        self._leave()
        try:
            return scheduler.wait(until)
        finally:
            if strand in self._waiters:
                self._waiters.remove(strand)
            if not scheduler.over:
                self._enter()
            self._depth = depth

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until something holds; for ever, as lstn's own code does."""
        assert timeout is None
        while not (holds := predicate()):
            self.wait()
        return holds

    def notify(self, n: int = 1) -> None:
        """Wake up to `n` of those that wait."""
        chance = self._scheduler.chance
        for _ in range(min(n, len(self._waiters))):
            self._scheduler.wake(self._waiters.pop(int(chance.random() * len(self._waiters))))

    def notify_all(self) -> None:
        """Wake all."""
        self.notify(len(self._waiters))

    @property
    def waiters(self) -> list[Strand]:
        """Who waits for a notice."""
        return self._waiters


class SimulatedEvent:
    """An event that is set once."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Set it."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set


class SimulatedThread:
    """A thread."""

    def __init__(self, scheduler: Scheduler, target: Callable[..., object], args: tuple[Any, ...], name: str) -> None:
        self._scheduler = scheduler
        self._work = lambda: target(*args)
        self.name = name
        self._strand: Strand | None = None

    def start(self) -> None:
        """Start it."""
        self._strand = self._scheduler.begin(self.name, self._work)
        self._scheduler.pause()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._strand is not None and not self._strand.ended

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        until = inf if timeout is None else self._scheduler.now + timeout
        while self.is_alive() and self._scheduler.now < until:
            self._scheduler.sleep(0.001)


class SimulatedQueue(Generic[T]):
    """A queue.SimpleQueue."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._filled = SimulatedCondition(scheduler)
        self._items: deque[T] = deque()

    def put(self, item: T) -> None:
        """Add an item."""
        with self._filled:
            self._items.append(item)
            self._filled.notify()

    def get(self) -> T:
        """Take the oldest item; wait for one."""
        with self._filled:
            self._filled.wait_for(lambda: self._items)
            return self._items.popleft()


class SimulatedPool(Executor):
    """A pool of threads, which start with it and end at its shutdown."""

    def __init__(self, scheduler: Scheduler, workers: int) -> None:
        self._changed = SimulatedCondition(scheduler)
        self._work: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False
        for number in range(workers):
            scheduler.begin(f"decode-{number}", self._run)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Let a thread of the pool call `fn`."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._work.append((future, lambda: fn(*args, **named)))
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; wait for nobody."""
        with self._changed:
            self._closed = True
            for future, _ in self._work:
                future.cancel()
            self._work.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._work or self._closed)
                if not self._work:
                    return
                future, work = self._work.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except Exception as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)


class SimulatedThreading:
    """Stands in for the module `threading`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._spurious = scheduler.chance.choice((0.0, 0.0, 0.1))

    def Thread(  # noqa: N802 - the standard library's name
        self, *, target: Callable[..., object], args: tuple[Any, ...] = (), name: str, daemon: bool
    ) -> SimulatedThread:
        """Return a thread."""
        return SimulatedThread(self._scheduler, target, args, name)

    def Condition(self) -> SimulatedCondition:  # noqa: N802
        """Return a condition."""
        return SimulatedCondition(self._scheduler, spurious=self._spurious)

    def Lock(self) -> SimulatedLock:  # noqa: N802
        """Return a lock."""
        return SimulatedLock(self._scheduler)

    def Event(self) -> SimulatedEvent:  # noqa: N802
        """Return an event."""
        return SimulatedEvent()


class SimulatedTime:
    """Stands in for the module `time`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.monotonic = self.perf_counter = self.time = scheduler.clock
        self._scheduler = scheduler

    def time_ns(self) -> int:
        """Return nanoseconds."""
        return round(self._scheduler.now * 1e9)
