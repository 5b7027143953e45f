"""Progress of a build, as one share of the whole, and the way to stop it.

TensorRT tells its progress as phases within phases, from whichever of its threads is at work. What such a call raises
is swallowed and stops the build with no reason given, and what its logger raises, while it parses too, is swallowed
without a consequence. A Ctrl-C would be lost in either; hence a thread for all that TensorRT does.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

ReportProgress = Callable[[float, str], None]
"""Takes the share of a build that is done, from 0 to 1, never less than before, and the phase that it is in."""

_POLL_S = 0.1
"""Windows doesn't wake a thread that waits without end when Ctrl-C is pressed."""

T = TypeVar("T")


@dataclass(slots=True)
class _Phase:
    """`done` of `steps`; a phase that is through has done `span` of its parent's steps since `base`."""

    parent: str | None
    steps: int
    base: float
    span: float
    done: float = 0.0


class Progress:
    """The phases that are open, and whether the build is to go on.

    Calls may come from any thread and in any order; a name that isn't open is passed over.
    """

    def __init__(self, report: ReportProgress | None = None) -> None:
        """Tell `report` after every step."""
        self._report = report
        self._open: dict[str, _Phase] = {}
        self._share = 0.0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether the build is to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop the build at the end of the step that it is in."""
        self._cancelled.set()

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Enter a phase of some steps, which is part of the current step of its parent.

        How many phases that step holds isn't told beforehand: each takes half of what the ones before have left.
        """
        with self._lock:
            outer = None if parent is None else self._open.get(parent)
            base = 0.0 if outer is None else outer.done
            self._open[name] = _Phase(parent, max(1, steps), base, (1 - base % 1) / 2)

    def step(self, name: str, step: int) -> bool:
        """Leave a step of a phase, counted from 0; return whether the build is to go on."""
        with self._lock:
            self._advance(name, step + 1)
            roots = (phase.done / phase.steps for phase in self._open.values() if phase.parent is None)
            self._share = share = max(self._share, *roots, 0.0)
        if self._report is not None:
            self._report(share, name)
        return not self.cancelled

    def finish(self, name: str) -> None:
        """Leave a phase, whether or not all of its steps were told."""
        with self._lock:
            self._open.pop(name, None)

    def _advance(self, name: str | None, done: float) -> None:
        """Let a phase have done so many of its steps, and its parents that much more of theirs. Nothing goes back."""
        for _ in range(len(self._open)):  # as deep as phases can lie within each other
            if name is None or (phase := self._open.get(name)) is None:
                return
            phase.done = max(phase.done, min(float(phase.steps), done))
            name, done = phase.parent, phase.base + phase.span * phase.done / phase.steps


def monitor_of(trt: Any, progress: Progress) -> Any:
    """Return an IProgressMonitor that tells `progress`. It has to outlive the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # of a package that may be missing
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


def interruptible(work: Callable[[], T], progress: Progress) -> T:
    """Return what `work` returns, which runs in a thread of its own and heeds `progress`.

    Ctrl-C cancels it, and takes effect once it has stopped: TensorRT can't be left in the middle of a step.

    Raises:
        KeyboardInterrupt: it was cancelled.
    """
    with _on_ctrl_c(progress.cancel), ThreadPoolExecutor(1, "build") as pool:
        job = pool.submit(work)
        while not job.done():
            wait((job,), timeout=_POLL_S)
    if progress.cancelled:
        raise KeyboardInterrupt
    try:
        return job.result()
    finally:
        # A failed job holds an error whose traceback leads here and back to it. Until Python's collector found that
        # circle it would keep TensorRT's builder, and may find it amid another build, where freeing waits for a lock.
        del job


@contextmanager
def _on_ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    """Run `action` instead of raising, which could happen between any two instructions, twice for a second Ctrl-C.

    Only the main thread may say so; and whoever handles Ctrl-C in a way of their own, or ignores it, goes on to.
    """
    usual = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not usual:
        yield
        return
    signal.signal(signal.SIGINT, lambda _number, _frame: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
