"""`lstn serve`: open the ports, warm the engines up, answer until told to stop, and leave nobody without an answer."""

import asyncio
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstn.errors import LstnError, UsageError
from lstn.imports import require
from lstn.machine.cores import usable_cores
from lstn.runtime.serving.access import Certificate, Guard
from lstn.runtime.serving.batcher import FairLock
from lstn.runtime.serving.grpc_service import add_port, new_server
from lstn.runtime.serving.heads import connection_class
from lstn.runtime.serving.http_app import HttpApp
from lstn.runtime.serving.metrics import Metrics
from lstn.runtime.serving.registry import House
from lstn.runtime.serving.served_model import Batching, ServedModel
from lstn.terminal import note, warn

_BACKLOG = 512
_LAST_WORDS_S = 2.0  # for answers that are on their way
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
    for package in ("uvicorn", "httptools"):
        require(package, extra="serve")
    # Pillow warns of damaged metadata, in words that are the file's; each would be printed, and remembered for good.
    warnings.filterwarnings("ignore", module="PIL")
    asyncio.run(_serve(files, settings))


async def _serve(files: Mapping[str, Path], settings: ServerSettings) -> None:
    turns, metrics = FairLock(), Metrics()
    decoders = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
    models = {
        name: ServedModel(name, path, settings.batching, turns=turns, metrics=metrics, decoders=decoders)
        for name, path in files.items()
    }
    house = House(models, settings.guard, metrics)
    stop = asyncio.Event()
    try:
        with _listening(settings) as sock:
            web = _web_server(house, settings)
            calls = new_server(house, max_queue=settings.batching.max_queue)
            grpc_port = add_port(calls, f"{_bracketed(settings.host)}:{settings.grpc_port}", settings.certificate)
            if not grpc_port:
                raise UsageError(f"--grpc-port {settings.grpc_port}: can't listen there on {settings.host}")
            with _signals(house, stop):
                await calls.start()
                serving = asyncio.ensure_future(web.serve(sockets=[sock]))
                try:
                    await _until_stopped(house, settings, stop, (sock.getsockname()[1], grpc_port))
                finally:
                    await _close(house, settings, web, serving, calls)
    finally:
        decoders.shutdown(wait=False, cancel_futures=True)


async def _until_stopped(house: House, settings: ServerSettings, stop: asyncio.Event, ports: tuple[int, int]) -> None:
    """Load the models, say where they are, and wait for the signal, which may come while they load."""
    loading, stopping = asyncio.ensure_future(house.load()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        scheme = "https" if settings.certificate else "http"
        host = _bracketed(settings.host)
        note(f"ready: {', '.join(house.models)} at {scheme}://{host}:{ports[0]} and gRPC {host}:{ports[1]}")
    await stopping


async def _close(house: House, settings: ServerSettings, web: Any, serving: "asyncio.Future[None]", calls: Any) -> None:
    """Answer what was accepted, then close the ports; raise if that takes longer than `drain_s`."""
    deadline = time.monotonic() + settings.drain_s
    late = False
    try:
        await asyncio.wait_for(house.drain(), settings.drain_s)
    except (asyncio.TimeoutError, TimeoutError):
        late = True
    left = max(0.1, deadline - time.monotonic())
    web.config.timeout_graceful_shutdown = left
    web.should_exit = True
    # Nothing that was accepted is left, but gRPC loses a call that arrives in the moment in which it stops: neither
    # answered nor refused, it would hold the server until its client gives up.
    await asyncio.gather(calls.stop(min(left, _LAST_WORDS_S)), serving)
    for model in house.models.values():
        if model.generation is not None:
            model.generation.batcher.close()
            if not late:
                await asyncio.get_running_loop().run_in_executor(None, model.generation.ended.wait, left)
    if late:
        raise LstnError(f"not everything was answered within {settings.drain_s:g} s", hint="give --drain-s more")


def _web_server(house: House, settings: ServerSettings) -> Any:
    uvicorn: Any = require("uvicorn", extra="serve")
    certificate = settings.certificate
    config = uvicorn.Config(
        HttpApp(house),
        http=connection_class(),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
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
                f"--http-port {settings.http_port}: can't listen there on {settings.host}: {told}"
            ) from error
        yield sock


@contextmanager
def _signals(house: House, stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Future[None]] = set()

    async def reload() -> None:
        changed = await house.reload()
        note(f"reloaded: {', '.join(changed) or 'nothing has changed'}")

    def on_hangup() -> None:
        if house.ready and not reloads:
            task = asyncio.ensure_future(reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)
        else:
            warn("a reload is under way, or the server isn't ready; nothing was reloaded")

    def on_stop() -> None:
        house.draining = True  # not ready from this very moment
        stop.set()

    handlers: dict[int, Callable[[], None]] = {
        signal.SIGTERM: on_stop,
        signal.SIGINT: on_stop,
        signal.SIGHUP: on_hangup,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
