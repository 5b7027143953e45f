"""Network of a simulated server: connections whose bytes come late, in pieces or not at all, and HTTP clients."""

import asyncio
import re
from collections.abc import Callable
from math import inf
from typing import Any

from benchmarks.support.simulation.scheduler import Scheduler

_APART_S = 1e-6
"""Between two pieces at least, so that one never overtakes another."""

_GOODBYE_S = 30.0
"""How long asyncio waits for the end of TLS."""

_HIGH_WATER = 256
"""Bytes that the system holds for a client; small, so that an answer is more than that."""


class LostError(Exception):
    """The connection ended before the answer."""


class Network:
    """Where clients reach the server.

    delay_s: the mean time of a piece on its way
    polite:  clients answer a goodbye of TLS at once; else a connection that is closed lasts half a minute
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.delay_s = scheduler.chance.choice((0.0, 0.0005, 0.02))
        self.polite = scheduler.chance.random() < 0.5
        self._factory: Callable[[], Any] | None = None

    def listen(self, factory: Callable[[], Any]) -> "Listening":
        """Let `factory` make the protocol of each connection."""
        self._factory = factory
        return Listening(self)

    def close(self) -> None:
        """Let nobody connect any more."""
        self._factory = None

    def connect(self) -> "Connected":
        """Connect a client.

        Raises:
            LostError: nobody listens.
        """
        if self._factory is None:
            raise LostError
        return Connected(self._factory(), self)

    def delay(self) -> float:
        """Return how long a piece is on its way, in seconds."""
        return self.scheduler.chance.expovariate(1 / self.delay_s) if self.delay_s else 0.0


class Listening:
    """An asyncio server."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def close(self) -> None:
        """Accept nobody more."""
        self._network.close()

    async def wait_closed(self) -> None:
        """Return at once."""


class Connected(asyncio.Transport):
    """One connection: to the server the transport that it writes to, to a client where it sends and receives.

    taken: bytes that the server has read
    deaf:  the client takes nothing in
    left:  the client has cut it
    """

    def __init__(self, protocol: Any, network: Network) -> None:
        super().__init__()
        self.taken = 0
        self.received = bytearray()
        self.deaf = False
        self.left = False
        self._protocol = protocol
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._coming: list[bytes] = []
        self._arrivals: list[tuple[int, float]] = []
        self._on_the_way = 0.0
        self._back = 0.0
        self._reading = True
        self._closing = self._cut = self._ended = False
        self._unread = bytearray()
        self._paused_writing = False
        self._news = asyncio.Event()
        self._loop.call_soon(protocol.connection_made, self)

    # What the client does.

    def send(self, data: bytes, *, pieces: int) -> None:
        """Send bytes, in so many pieces, each after the one before."""
        chance = self._network.scheduler.chance
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(pieces - 1))
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            self._on_the_way = max(self._on_the_way + _APART_S, self._loop.time() + self._network.delay())
            self._loop.call_at(self._on_the_way, self._arrive, data[start:stop])

    def leave(self) -> None:
        """Cut the connection, as a client that is killed does."""
        self.left = True
        self._loop.call_later(self._network.delay(), self._end)

    def arrived_at(self, end: int) -> float:
        """Return when the server had read so many bytes; infinity if it hasn't."""
        return next((at for taken, at in self._arrivals if taken >= end), inf)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the next answer: status, headers, body.

        Raises:
            LostError: the connection has ended.
        """
        while True:
            head, found, rest = bytes(self.received).partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if found and length and len(rest) >= int(length[1]):
                del self.received[: len(head) + 4 + int(length[1])]
                first, *lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines)
                return int(first.split()[1]), headers, rest[: int(length[1])]
            if self._ended:
                raise LostError
            self._news.clear()
            await self._news.wait()

    # What the server's protocol calls.

    def write(self, data: Any) -> None:
        """Send bytes to the client."""
        if self._closing:
            return
        self._unread += data
        if self.deaf and len(self._unread) > _HIGH_WATER and not self._paused_writing:
            self._paused_writing = True
            self._protocol.pause_writing()
        self._flush()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the client hasn't taken in."""
        return len(self._unread)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to."""
        return self._closing

    def close(self) -> None:
        """Close it once all is written."""
        self._closing = True
        if not self._unread:
            self._say_goodbye()

    def abort(self) -> None:
        """Close it at once."""
        self._closing = True
        self._unread.clear()
        self._loop.call_soon(self._end)

    def pause_reading(self) -> None:
        """Read nothing for a while."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self._reading = True
        self._loop.call_soon(self._read)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return addresses."""
        return {"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 80)}.get(name, default)

    def _arrive(self, data: bytes) -> None:
        self._coming.append(data)
        self._read()

    def _read(self) -> None:
        while self._coming and self._reading and not self._closing:
            data = self._coming.pop(0)
            self.taken += len(data)
            self._arrivals.append((self.taken, self._loop.time()))
            self._protocol.data_received(data)

    def _flush(self) -> None:
        if self.deaf or not self._unread:
            return
        data, self._unread = bytes(self._unread), bytearray()
        self._back = max(self._back + _APART_S, self._loop.time() + self._network.delay())
        self._loop.call_at(self._back, self._hand_over, data)
        if self._closing:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self._loop.call_later(0.0 if self._network.polite else _GOODBYE_S, self._end)

    def _hand_over(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    def _end(self) -> None:
        if not self._cut:
            self._closing = self._cut = True
            self._protocol.connection_lost(None if not self.left else ConnectionResetError())
            self._loop.call_at(max(self._back + _APART_S, self._loop.time()), self._tell_end)

    def _tell_end(self) -> None:
        self._ended = True
        self._news.set()
