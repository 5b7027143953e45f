"""`lstn serve` in a process of its own, for the benchmarks that measure it, feed it nonsense and kill it."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

MODEL = "m"
"""What the model is called."""

_START_S = 120.0
_STOP_S = 60.0


@dataclass
class Server:
    """A process that was started; `told` is the file that its standard error goes to."""

    process: "subprocess.Popen[bytes]"
    told: Path

    @property
    def ports(self) -> tuple[int, int, int]:
        """Its HTTP port, its gRPC port and its process's number; waits until it is ready."""
        stop = time.monotonic() + _START_S
        while time.monotonic() < stop and self.process.poll() is None:
            if found := re.search(r":(\d+) and gRPC \S*:(\d+)$", self.told.read_text(), re.MULTILINE):
                return int(found[1]), int(found[2]), self.process.pid
            time.sleep(0.01)
        raise RuntimeError(f"the server didn't get ready: {self.told.read_text()}")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal, wait until the process has ended, and return its exit code and what it said beside `ready`."""
        self.process.send_signal(number)
        code = self.process.wait(_STOP_S)
        return code, re.sub(r"^.*ready: .*\n", "", self.told.read_text())


@contextmanager
def started(path: Path, *options: object) -> Iterator[Server]:
    """Start the server on free ports, if the options name no others; whatever becomes of it, no process is left."""
    command = [sys.executable, "-m", "lstn", "serve", "--engine", str(path), "--name", MODEL]
    command += ["--http-port", "0", "--grpc-port", "0", *map(str, options)]
    with NamedTemporaryFile(suffix=".log") as told, subprocess.Popen(command, stderr=told) as process:
        try:
            yield Server(process, Path(told.name))
        finally:
            process.kill()


@contextmanager
def serving(path: Path, *options: object) -> Iterator[tuple[int, int, int]]:
    """Run the server, yield its ports and its process's number; then it must end with 0 and without a word."""
    with started(path, *options) as server:
        yield server.ports
        code, told = server.end(signal.SIGTERM)
        if (code, told) != (0, ""):
            raise RuntimeError(f"the server ended with {code}: {told}")


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")
