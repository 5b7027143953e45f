"""A lock for the engines of one server, which compute one at a time."""

import threading
from types import TracebackType


class FairLock:
    """A lock that is handed on in the order in which it was asked for, so that no engine starves."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.asked = 0
        self._serving = 0

    def __enter__(self) -> None:
        with self._changed:
            mine = self.asked
            self.asked += 1
            self._changed.wait_for(lambda: self._serving == mine)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._serving += 1
            self._changed.notify_all()
