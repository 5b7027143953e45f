"""Stopping the server's process: signals that are never exceptions, and engines that can't be waited for."""

import asyncio
import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TypeAlias

_STOPPING = (signal.SIGINT, signal.SIGTERM)

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None


class StopSignals:
    """SIGINT and SIGTERM, noted from the first moment on.

    As KeyboardInterrupt, one would hit the start anywhere: within the import of a package, or between the making of a
    coroutine and its run.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, _Handler] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._note) for number in _STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def calling(self, on_stop: Callable[[], None]) -> Iterator[None]:
        """Call `on_stop` in the running event loop for each signal, and at once if one has come before."""
        loop = asyncio.get_running_loop()
        for number in _STOPPING:
            loop.add_signal_handler(number, on_stop)
        if self._asked:
            on_stop()
        try:
            yield
        finally:
            for number in _STOPPING:
                loop.remove_signal_handler(number)
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


@contextmanager
def leaving_behind(threads: Callable[[], Iterable[threading.Thread]], patience_s: float) -> Iterator[None]:
    """Wait for engines' threads at the end, for `patience_s` each, and arrange for an end without them.

    Python can't stop a thread within a library, and a library can't go on once Python has been taken down: it aborts
    the process. Where one is left, the process ends without taking Python down, with the code that it would have had.
    """
    code = 0
    try:
        yield
    except BaseException as error:
        code = getattr(error, "exit_code", 1)
        raise
    finally:
        for thread in threads():
            thread.join(patience_s)
        if any(thread.is_alive() for thread in threads()):
            atexit.register(_leave, code)


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
