"""Watch over the cluster that a driver has joined: Ray itself may wait for another one, for ever."""

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TypeVar

from lstn.errors import LstnError

_EVERY_S = 1.0
_AWAY_S = 5.0
"""For how long a head may be silent: a machine that is busy is not gone."""

_AHEAD = 4
"""Items that may wait to be taken."""

T = TypeVar("T")


class ClusterWatch:
    """Watches from a thread of its own, until `close`.

    lost: what has happened to the cluster; "" as long as it lives
    """

    def __init__(self, ray: ModuleType) -> None:
        context = ray.get_runtime_context()
        self.lost = ""
        self._ray, self._here = ray, context.get_node_id()
        host, _, port = context.gcs_address.rpartition(":")
        self._head = host.strip("[]"), int(port)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer."""
        self._done.set()

    def _watch(self) -> None:
        seen_s = time.monotonic()
        while not self._done.wait(_EVERY_S):
            if self._listens():
                seen_s = time.monotonic()
                if not self._knows_us():
                    self.lost = "it knows this node no longer"
            elif time.monotonic() - seen_s > _AWAY_S:
                self.lost = "its head doesn't answer"

    def _listens(self) -> bool:
        try:
            socket.create_connection(self._head, timeout=_AWAY_S).close()
        except OSError:
            return False
        return True

    def _knows_us(self) -> bool:
        """Whether the head has this driver's node among those that live; one that was started again hasn't."""
        return any(node["NodeID"] == self._here and node["Alive"] for node in self._ray.nodes())


def while_there(watch: ClusterWatch, produced: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Yield what a call to the cluster produces. It runs in a thread of its own, for it may never come back.

    Raises:
        LstnError: the cluster has gone.
        Exception: what `produced` raises.
    """
    items: queue.Queue[tuple[T | None, Exception | None, bool]] = queue.Queue(_AHEAD)

    def produce() -> None:
        try:
            for item in produced():
                items.put((item, None, True))
        except Exception as error:
            items.put((None, error, False))
        else:
            items.put((None, None, False))

    threading.Thread(target=produce, daemon=True).start()
    while True:
        try:
            item, error, more = items.get(timeout=_EVERY_S)
        except queue.Empty:
            if watch.lost:
                raise LstnError(f"the cluster has gone: {watch.lost}", hint="run it again to go on from here") from None
            continue
        if error is not None:
            raise error
        if not more:
            return
        yield item  # type: ignore[misc]
