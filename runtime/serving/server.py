"""Server process of `lstn serve`: open the ports, warm the engines up, answer, stop, and leave nobody unanswered."""

import asyncio
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstn.errors import LstnError, UsageError
from lstn.imports import require
from lstn.machine.cores import usable_cores
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.models.generation import Batching
from lstn.runtime.serving.models.metrics import Metrics
from lstn.runtime.serving.models.registry import ModelRegistry
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.open_files import LoopFaults, allow_many_files
from lstn.runtime.serving.protocols.grpc_service import add_port, new_server
from lstn.runtime.serving.protocols.http_app import HttpApp
from lstn.runtime.serving.requests.access import Certificate, Guard
from lstn.runtime.serving.stopping import StopSignals, leaving_behind
from lstn.terminal import note, warn

_BACKLOG = 512
_LAST_WORDS_S = 2.0  # for answers that are on their way
_ANOTHER_PORT = "name another port; 0 takes any that is free"
_KEEP_ALIVE_S = 65  # longer than the proxies' usual minute, so that they close first


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to serve. A port of 0 takes any that is free.

    drain_s: how long stopping may take
    """

    host: str
    http_port: int
    grpc_port: int
    batching: Batching
    guard: Guard
    certificate: Certificate | None
    drain_s: float


def serve(files: Mapping[str, Path], settings: ServerSettings) -> None:
    """Serve each file under its name until SIGTERM or SIGINT; SIGHUP opens those anew that have changed.

    Raises:
        LstnError: a port is taken, an engine can't be opened, or stopping took longer than `drain_s`.
        MissingExtra: a package of the extra `serve` is missing.
    """
    require_server()
    # Pillow warns of damaged metadata, in words that are the file's; each would be printed, and remembered for good.
    warnings.filterwarnings("ignore", module="PIL")
    allow_many_files()
    models: dict[str, ServedModel] = {}
    with StopSignals() as signals, leaving_behind(lambda: _threads(models), _LAST_WORDS_S):
        asyncio.run(_serve(files, settings, models, signals))


def require_server() -> None:
    """Check that the packages of the extra `serve` are installed.

    Raises:
        MissingExtra: one isn't.
    """
    for package in ("uvicorn", "httptools"):
        require(package, extra="serve")


def _threads(models: Mapping[str, ServedModel]) -> list[threading.Thread]:
    return [thread for model in models.values() for thread in model.threads]


async def _serve(
    files: Mapping[str, Path], settings: ServerSettings, models: dict[str, ServedModel], signals: StopSignals
) -> None:
    """Serve `files`, and put their models into `models`."""
    asyncio.get_running_loop().set_exception_handler(LoopFaults())
    lock, metrics = FairLock(), Metrics()
    decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
    for name, path in files.items():
        models[name] = ServedModel(name, path, settings.batching, lock=lock, metrics=metrics, decoders=decoders)
    registry = ModelRegistry(models, settings.guard, metrics)
    try:
        with _listening(settings) as sock:
            web = _web_server(registry, settings)
            calls = new_server(registry, max_queue=settings.batching.max_queue)
            grpc_port = add_port(calls, f"{_bracketed(settings.host)}:{settings.grpc_port}", settings.certificate)
            if not grpc_port:
                raise UsageError(
                    f"--grpc-port {settings.grpc_port}: can't listen there on {settings.host}", hint=_ANOTHER_PORT
                )
            with _stopped(registry, signals) as stop, _reloading(registry):
                await calls.start()
                serving = asyncio.ensure_future(web.serve(sockets=[sock]))
                try:
                    await _until_stopped(registry, settings, stop, (sock.getsockname()[1], grpc_port))
                finally:
                    await _close(registry, settings, web, serving, calls)
    finally:
        decoders.shutdown(wait=False, cancel_futures=True)


async def _until_stopped(
    registry: ModelRegistry, settings: ServerSettings, stop: asyncio.Event, ports: tuple[int, int]
) -> None:
    """Load the models, say where they are, and wait for the signal, which may come while they load."""
    loading, stopping = asyncio.ensure_future(registry.load()), asyncio.ensure_future(stop.wait())
    # Whoever stops the server while it loads doesn't ask how that ended; asyncio would tell, with a traceback.
    loading.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        scheme = "https" if settings.certificate else "http"
        host = _bracketed(settings.host)
        note(f"ready: {', '.join(registry.models)} at {scheme}://{host}:{ports[0]} and gRPC {host}:{ports[1]}")
    await stopping


async def _close(
    registry: ModelRegistry, settings: ServerSettings, web: Any, serving: "asyncio.Future[None]", calls: Any
) -> None:
    """Answer what was accepted, then close the ports; raise if that takes longer than `drain_s`."""
    deadline = time.monotonic() + settings.drain_s
    late = False
    try:
        await asyncio.wait_for(registry.drain(), settings.drain_s)
    except (asyncio.TimeoutError, TimeoutError):
        late = True
    left = max(0.1, deadline - time.monotonic())
    web.config.timeout_graceful_shutdown = left
    web.should_exit = True
    # Nothing that was accepted is left, but gRPC loses a call that arrives in the moment in which it stops: neither
    # answered nor refused, it would hold the server until its client gives up.
    await asyncio.gather(calls.stop(min(left, _LAST_WORDS_S)), serving)
    for model in registry.models.values():
        model.close()
    if late:
        raise LstnError(f"not everything was answered within {settings.drain_s:g} s", hint="give --drain-s more")


def _web_server(registry: ModelRegistry, settings: ServerSettings) -> Any:
    uvicorn: Any = require("uvicorn", extra="serve")
    from lstn.runtime.serving.protocols.heads import Connection

    certificate = settings.certificate
    config = uvicorn.Config(
        HttpApp(registry),
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        backlog=_BACKLOG,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        ssl_certfile=certificate and str(certificate.cert),
        ssl_keyfile=certificate and str(certificate.key),
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # they are ours
    return server


@contextmanager
def _listening(settings: ServerSettings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's delay off only where it reads TCP here; without it an answer takes 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((settings.host, settings.http_port))
            sock.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            told = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"--http-port {settings.http_port}: can't listen there on {settings.host}: {told}", hint=_ANOTHER_PORT
            ) from error
        yield sock


@contextmanager
def _stopped(registry: ModelRegistry, signals: StopSignals) -> Iterator[asyncio.Event]:
    """Yield the event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()

    def on_stop() -> None:
        registry.draining = True  # not ready from this very moment
        stop.set()

    with signals.calling(on_stop):
        yield stop


@contextmanager
def _reloading(registry: ModelRegistry) -> Iterator[None]:
    """Reload on SIGHUP."""
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Future[None]] = set()

    async def reload() -> None:
        changed = await registry.reload()
        note(f"reloaded: {', '.join(changed) or 'nothing has changed'}")

    def on_hangup() -> None:
        if registry.ready and not reloads:
            task = asyncio.ensure_future(reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)
        else:
            warn("a reload is under way, or the server isn't ready; nothing was reloaded")

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
