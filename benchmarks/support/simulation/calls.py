"""gRPC of a simulated server: calls reach the handlers of lstn's own service, without gRPC's threads and sockets."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks.support.simulation.network import Network

NO_SERVER = "no server"
"""What a client is told where nobody listens."""


class CallError(Exception):
    """What a client is told in place of an answer: gRPC's name of the status, and its words."""

    def __init__(self, code: str, details: str = "") -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class SimulatedCalls:
    """Stands in for a grpc.aio.Server. most: calls at once."""

    def __init__(self, network: Network, *, maximum_concurrent_rpcs: int, options: Sequence[object]) -> None:
        self._network = network
        self._most = maximum_concurrent_rpcs
        self._handlers: Any = None
        self._open = False
        self._running: dict[asyncio.Task[bytes], None] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Take the service."""
        (self._handlers,) = handlers

    def add_insecure_port(self, address: str) -> int:
        """Return a port."""
        return 1

    async def start(self) -> None:
        """Take calls."""
        self._open = True

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls, wait for those that run, and cancel what is left."""
        self._open = False
        if self._running:
            await asyncio.wait(list(self._running), timeout=grace)
        for task in list(self._running):
            task.cancel()

    async def call(self, method: str, data: bytes, timeout_s: float | None, arrived: Callable[[float], None]) -> bytes:
        """Call a method as a client does. arrived: is told the time at which the server has it

        Raises:
            CallError: there is no answer.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        await asyncio.sleep(self._network.delay())
        if not self._open:
            raise CallError("UNAVAILABLE", NO_SERVER)
        if len(self._running) >= self._most:
            raise CallError("RESOURCE_EXHAUSTED", "too many calls")
        arrived(loop.time())
        details = SimpleNamespace(method=f"/inference.GRPCInferenceService/{method}", invocation_metadata=())
        handler = self._handlers.service(details).unary_unary
        task = asyncio.ensure_future(handler(data, _Context(loop, deadline)))
        self._running[task] = None
        task.add_done_callback(self._ended)
        try:
            done, _ = await asyncio.wait({task}, timeout=None if deadline is None else max(0.0, deadline - loop.time()))
        except asyncio.CancelledError:  # the client has left
            task.cancel()
            raise
        if not done:
            task.cancel()
            raise CallError("DEADLINE_EXCEEDED", "its own deadline")
        if task.cancelled():
            raise CallError("UNAVAILABLE", "cancelled by the server")
        answer = task.result()
        await asyncio.sleep(self._network.delay())
        return answer

    def _ended(self, task: "asyncio.Task[bytes]") -> None:
        """Forget a call; how it ended may be news to nobody, if its client has left."""
        del self._running[task]
        if not task.cancelled():
            task.exception()


class _Context:
    """What a handler asks of its call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float | None) -> None:
        self._loop = loop
        self._deadline = deadline

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata: none."""
        return ()

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline."""
        return None if self._deadline is None else self._deadline - self._loop.time()

    async def abort(self, code: Any, details: str) -> None:
        """End the call with a status."""
        raise CallError(code.name, details)
