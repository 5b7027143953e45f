"""A server to measure: `lstn serve` in a process of its own on the loopback address, and connections to it."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import LstnError
from lstn.files import scratch_folder
from lstn.research.tune.open_loop import OpenLoad, due_moments, send_openly

_HOST, _MODEL = "127.0.0.1", "tuned"
_READY = re.compile(r"ready: .*:(\d+) and gRPC \S*:\d+$", re.MULTILINE)
_START_S, _STOP_S = 300.0, 5.0
_CONNECTIONS = 512
"""At once. It is more than wait in a server's queue, so that one that can't keep up has to refuse some."""

_WARM_UP = 0.25
"""Share of the measured time for which requests come before it."""

_FULL = 503


@dataclass(frozen=True, slots=True)
class ServingSetting:
    """How a server makes batches; see `Batcher`."""

    max_batch: int
    max_wait_ms: float

    def __str__(self) -> str:
        return " ".join(self.options)

    @property
    def options(self) -> tuple[str, ...]:
        """The same as options of `lstn serve`."""
        return "--max-batch", str(self.max_batch), "--max-wait-ms", f"{self.max_wait_ms:g}"


def load_server(
    engine: Path, setting: ServingSetting, files: Sequence[bytes], *, rate: float, seconds: float, seed: int
) -> OpenLoad:
    """Start a server, send it image files in turn, `rate` a second, and stop it.

    Raises:
        LstnError: it doesn't start, ends by itself, or refuses a request for any reason but a full queue.
    """
    due_s = due_moments(rate, seconds=seconds, warm_up_s=_WARM_UP * seconds, seed=seed)

    async def sent(port: int) -> OpenLoad:
        connections = Connections(port, files)
        try:
            return await send_openly(connections.ask, due_s, seconds=seconds)
        finally:
            connections.close()

    with running_server(engine, setting) as port:
        return asyncio.run(sent(port))


@contextmanager
def running_server(engine: Path, setting: ServingSetting) -> Iterator[int]:
    """Run `lstn serve` on free ports of the loopback address; yield its port for HTTP. No process is left behind.

    Raises:
        LstnError: it doesn't get ready; in its own words.
    """
    command = [sys.executable, "-m", "lstn", "serve", "--engine", str(engine), "--name", _MODEL, *setting.options]
    command += ["--host", _HOST, "--http-port", "0", "--grpc-port", "0"]
    with (
        scratch_folder(prefix="lstn-tune-") as folder,
        (folder / "told").open("wb") as told,
        _terminated_too(),
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told) as process,
    ):
        try:
            yield _port_of(process, Path(told.name))
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()


@contextmanager
def _terminated_too() -> Iterator[None]:
    """Let SIGTERM end this process as an error does, through each `finally`, or the server would go on for good."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _port_of(process: "subprocess.Popen[bytes]", told: Path) -> int:
    stop = time.monotonic() + _START_S
    while time.monotonic() < stop:
        ended = process.poll() is not None
        text = told.read_text(errors="replace")
        if ready := _READY.search(text):
            return int(ready[1])
        if ended:
            message, _, hint = text.rpartition("error: ")[2].strip().partition("\n")
            raise LstnError(f"lstn serve ended: {message or 'without a word'}", hint=hint.strip())
        time.sleep(0.02)
    raise LstnError(f"lstn serve was not ready after {_START_S:.0f} s")


class Connections:
    """Connections to a server, each of which has one request under way; as many as there are such requests."""

    def __init__(self, port: int, files: Sequence[bytes]) -> None:
        head = (
            f"POST /v2/models/{_MODEL}/infer HTTP/1.1\r\nHost: {_HOST}:{port}\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n"
        )
        self._port = port
        self._requests = [head.replace("{}", str(len(file))).encode() + file for file in files]
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(_CONNECTIONS)

    async def ask(self, number: int) -> bool:
        """Send a file, the first again after the last; see `Ask`.

        Raises:
            LstnError: the server ended, or can't answer such a request.
        """
        status, body = await self.post(number)
        if status not in (200, _FULL):
            raise LstnError(f"lstn serve answered with status {status}: {body.decode(errors='replace'):.200}")
        return status == 200

    async def post(self, number: int) -> tuple[int, bytes]:
        """Send a file; return the status and the body of the answer.

        Raises:
            LstnError: the server ended.
        """
        async with self._room:
            try:
                reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(_HOST, self._port)
            except OSError as error:
                raise _ended(error) from error
            status = 0
            try:
                writer.write(self._requests[number % len(self._requests)])
                status, body = await _answer(reader)
            except (OSError, EOFError) as error:
                raise _ended(error) from error
            finally:  # cancelled or refused: what else comes on this connection is not an answer to the next request
                if status == 200:
                    self._idle.append((reader, writer))
                else:
                    writer.close()
            return status, body

    def close(self) -> None:
        """Close those that are idle; the others are closed by whoever uses them."""
        for _, writer in self._idle:
            writer.close()


def _ended(error: Exception) -> LstnError:
    return LstnError(f"lstn serve closed a connection under load: {error}")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]) if length else 0)
