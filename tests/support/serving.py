"""A server in a process of its own, and what tests send to it."""

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from tiny import SIDE, Tiny, proto_of
from tiny_fixtures import LABELS, tiny_at

from lstn.contract import Loc, ThetaForm
from lstn.images import Pixels

SHAPE = [1, SIDE, SIDE, 3]
ZEROS = [0] * (SIDE * SIDE * 3)


@dataclass
class Server:
    """A running `lstn serve`."""

    process: "subprocess.Popen[str]"
    http_port: int
    grpc_port: int

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def stop(self) -> tuple[int, str]:
        """SIGTERM -> exit code, standard error."""
        self.process.send_signal(signal.SIGTERM)
        told = self.process.stderr.read() if self.process.stderr else ""
        return self.process.wait(timeout=30), told

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one plain HTTP request -> status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, 0 if it isn't there."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.ask("GET", "/metrics")[2].decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def serving(*arguments: object, http_port: int = 0) -> Iterator[Server]:
    """Start `lstn serve` on free ports, wait until it is ready, and leave no process behind."""
    ports_given = ["--http-port", str(http_port), "--grpc-port", "0"]
    command = [sys.executable, "-m", "lstn", "serve", *ports_given, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline() or process.stderr.read()
            ports = re.search(r":(\d+) and gRPC \S*:(\d+)$", line)
            assert ports, line
            yield Server(process, int(ports[1]), int(ports[2]))
        finally:
            process.kill()


def written(path: Path, *, loc: Loc = Loc.LSTN, seed: int = 0, form: ThetaForm = ThetaForm.AFFINE) -> Tiny:
    tiny = tiny_at(path, loc=loc, labels=LABELS, seed=seed, form=form)
    path.write_bytes(proto_of(tiny).SerializeToString())
    return tiny


def connect(client: ModuleType, server: Server, **options: Any) -> Any:
    import tritonclient.http  # here, for conftest.py imports this module and a GPU machine may lack the client

    return client.InferenceServerClient(server.http if client is tritonclient.http else server.grpc, **options)


def until(true: Callable[[], bool]) -> None:
    stop = time.monotonic() + 20
    while not true():
        assert time.monotonic() < stop
        time.sleep(0.01)


def random_pixels(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def png(pixels: Pixels) -> bytes:
    """(H, W, 3) uint8 -> a file that decodes to exactly that."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels_input(client: ModuleType, pixels: Pixels, **options: bool) -> Any:
    """Client: tritonclient.http or tritonclient.grpc."""
    tensor = client.InferInput("pixels", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, **options)
    return tensor


def files_input(client: ModuleType, files: list[bytes]) -> Any:
    tensor = client.InferInput("image", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=np.object_))
    return tensor


def body_of(inputs: object, **fields: object) -> bytes:
    return json.dumps({"inputs": inputs, **fields}).encode()


def outputs_of(answer: bytes) -> dict[str, Any]:
    """Return the arrays of an answer in JSON by their names."""
    return {each["name"]: np.reshape(each["data"], each["shape"]) for each in json.loads(answer)["outputs"]}
