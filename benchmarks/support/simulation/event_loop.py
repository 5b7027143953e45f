"""Event loop of a simulated server: asyncio's own, on a simulated clock, with a simulated network and signals."""

import asyncio
from collections.abc import Callable
from typing import Any

from benchmarks.support.simulation.network import Network
from benchmarks.support.simulation.scheduler import Scheduler, Strand

_LAST_S = 1000.0


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs on the scheduler's first strand. Where asyncio asks the system for events, it sleeps until one is due.

    network: where clients connect
    defects: what no coroutine or callback caught
    """

    def __init__(self, scheduler: Scheduler, network: Network) -> None:
        super().__init__()
        self.network = network
        self.defects: list[str] = []
        self._scheduler = scheduler
        self._strand: Strand = scheduler.current
        self._woken = False
        self._signals: dict[int, Callable[[], object]] = {}
        self._selector = self  # what `BaseEventLoop` calls `select` of
        self.set_exception_handler(lambda _, context: self.defects.append(_told(context)))

    def time(self) -> float:
        """Return the simulated time."""
        return self._scheduler.now

    def select(self, timeout: float | None) -> list[object]:
        """Sleep until time is over, or another thread has called `call_soon_threadsafe`."""
        if self._scheduler.over:  # nothing comes from threads any more
            self._scheduler.now += timeout or 0.0
        elif timeout == 0 or self._woken:
            self._scheduler.pause()
        elif timeout is None:
            self._scheduler.wait()
        else:
            self._scheduler.sleep(timeout)
        self._woken = False
        return []

    def _process_events(self, event_list: list[object]) -> None:
        """There are none: what comes from the network comes by timers."""

    def _write_to_self(self) -> None:
        self._woken = True
        self._scheduler.wake(self._strand)
        self._scheduler.pause()

    def end(self) -> None:
        """Cancel what still runs, once the scheduler is over, and close."""
        self.set_exception_handler(lambda *_: None)
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks, timeout=_LAST_S))
        self.close()

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback` when `send_signal` says that a signal has come."""
        self._signals[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget it."""
        return self._signals.pop(sig, None) is not None

    def send_signal(self, number: int) -> bool:
        """Deliver a signal; return whether anybody handles it."""
        handler = self._signals.get(number)
        if handler is not None:
            self.call_soon(handler)
        return handler is not None

    async def create_server(self, protocol_factory: Callable[[], asyncio.BaseProtocol], **_: Any) -> Any:  # type: ignore[override]
        """Let clients of the network connect."""
        return self.network.listen(protocol_factory)


def _told(context: dict[str, Any]) -> str:
    error = context.get("exception")
    return f"{context['message']}: {type(error).__name__}: {error}" if error else str(context["message"])
