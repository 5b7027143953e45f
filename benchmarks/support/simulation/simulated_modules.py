"""Modules of the server in a simulated world: for a `with`, they get its threads, clock, engines, network and logs."""

import concurrent.futures
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import grpc.aio
import uvicorn.server

from benchmarks.support.simulation.engines import Opener
from benchmarks.support.simulation.threads import SimulatedPool, SimulatedQueue, SimulatedThreading, SimulatedTime
from lstn.runtime.engines import slots
from lstn.runtime.serving import server
from lstn.runtime.serving.models import batcher, fairlock, feeding, generation, registry, served_model, statistics
from lstn.runtime.serving.protocols import grpc_service, http_app
from lstn.runtime.serving.server import ServerSettings

if TYPE_CHECKING:
    from benchmarks.support.simulation.server_world import ServerWorld

_THREADED = (batcher, fairlock, feeding, generation, served_model, statistics, slots, concurrent.futures._base)
_TIMED = (feeding, served_model, statistics, server, uvicorn.server)
_SPOKEN = ((server, "note"), (server, "warn"), (registry, "warn"), (http_app, "warn"), (grpc_service, "warn"))
_LOGGERS = ("concurrent.futures", "asyncio", "uvicorn.error")


@contextmanager
def simulated_modules(world: "ServerWorld") -> Iterator[None]:
    """Let the server's modules run in `world`."""
    scheduler = world.scheduler
    threading, time = SimulatedThreading(scheduler), SimulatedTime(scheduler)
    queue = SimpleNamespace(SimpleQueue=lambda: SimulatedQueue(scheduler))
    pool = SimulatedPool(scheduler, world.chance.randint(1, 3))
    with ExitStack() as stack:
        for module in _THREADED:
            stack.enter_context(patch.object(module, "threading", threading))
        for module in _TIMED:
            stack.enter_context(patch.object(module, "time", time))
        for module, name in _SPOKEN:
            stack.enter_context(patch.object(module, name, world.said.append))
        stack.enter_context(patch.object(feeding, "queue", queue))
        stack.enter_context(patch.dict(batcher.Batcher.__init__.__kwdefaults__, clock=scheduler.clock))
        stack.enter_context(patch.object(server, "ThreadPoolExecutor", lambda *_, **__: pool))
        stack.enter_context(patch.object(server, "_listening", _listening))
        stack.enter_context(patch.object(server, "ModelRegistry", world.new_registry))
        stack.enter_context(patch.object(served_model, "open_engine", Opener(scheduler, world.faults, world.met)))
        stack.enter_context(patch.object(grpc.aio, "server", world.new_calls))
        stack.enter_context(patch.object(uvicorn.server, "ServerState", _OrderedState))
        stack.enter_context(patch.object(fairlock.FairLock, "__enter__", world.turns.entering(fairlock.FairLock)))
        stack.enter_context(_logged(world.logged))
        yield


@contextmanager
def _listening(settings: ServerSettings) -> Iterator[Any]:
    yield SimpleNamespace(getsockname=lambda: (settings.host, settings.http_port), close=lambda: None)


class _Ordered(dict[Any, None]):
    """A set in the order of insertion: addresses in memory, which Python's sets go by, differ from run to run."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)


class _OrderedState(uvicorn.server.ServerState):
    def __init__(self) -> None:
        super().__init__()
        self.connections = _Ordered()  # type: ignore[assignment]
        self.tasks = _Ordered()  # type: ignore[assignment]


class _Collector(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith("Cancel "):  # uvicorn's, of a server that is late
            self._lines.append(f"logged: {record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    collector = _Collector(lines)
    with ExitStack() as stack:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(collector)
            stack.callback(logger.removeHandler, collector)
            stack.enter_context(patch.object(logger, "propagate", False))
        yield
