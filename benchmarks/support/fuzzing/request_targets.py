"""Targets of the fuzzer that a server's clients reach: HTTP connections, JSON forms and gRPC messages."""

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import grpc.aio
import uvicorn
from uvicorn.server import ServerState

from benchmarks.support.fuzzing.targets import FuzzTarget, contracts, refusing
from lstn.contract import PIXELS
from lstn.runtime.serving.models.batcher import Batcher
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.models.generation import Batching, Generation
from lstn.runtime.serving.models.metrics import Metrics
from lstn.runtime.serving.models.registry import ModelRegistry
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.protocols import grpc_service, http_app
from lstn.runtime.serving.protocols.heads import Connection
from lstn.runtime.serving.requests.access import Guard
from lstn.runtime.serving.requests.file_form import is_file, read_file
from lstn.runtime.serving.requests.json_form import read_request
from lstn.runtime.serving.requests.messages import message_classes
from lstn.runtime.serving.requests.request import only_input, wanted_outputs
from lstn.runtime.serving.requests.request_images import check_sizes, files_from, pixels_from
from lstn.runtime.serving.requests.v1_form import read_instances

_CONTRACT = contracts()[-1]
_STATUSES = {100, 200, 400, 401, 403, 404, 405, 408, 413, 415, 431, 503}


class _AbortedError(Exception):
    """How a call ends that is aborted."""


@cache
def _registry() -> ModelRegistry:
    """A server's registry whose one model reads requests, and then admits none."""
    batcher = Batcher(max_batch=4, max_wait_s=0, max_queue=8)
    batcher.close()
    batching = Batching(4, 0.0, 8)
    metrics, nobody = Metrics(), SimpleNamespace()
    model = ServedModel("m", Path("m.onnx"), batching, lock=FairLock(), metrics=metrics, decoders=nobody)  # type: ignore[arg-type]
    model._generation = Generation(_CONTRACT, batcher)
    return ModelRegistry({"m": model}, Guard(), metrics)


def _warned(text: str) -> None:
    raise AssertionError(f"the server warns of itself: {text}")


def _form(data: bytes) -> None:
    """Bytes -> which form they are, and the body."""
    kind, rest = data[:1], data[1:]
    with refusing():
        if kind < b"\x40":
            request, _ = read_request(rest, None)
        elif kind < b"\x80":
            length, _, body = rest.partition(b"\n")
            request, _ = read_request(body, length)
        elif kind < b"\xc0":
            request = read_instances(rest)
        else:
            assert is_file(rest, None, b"") in (True, False)
            request = read_file(rest)
        wanted_outputs(request, _CONTRACT)
        given = only_input(request, _CONTRACT)
        if given.name == PIXELS:
            assert pixels_from(given).shape == given.shape
        else:
            check_sizes(files_from(given))


class _Wire(asyncio.Transport):
    """What a connection writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._closing = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self._closing = True

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


@cache
def _web() -> tuple[asyncio.AbstractEventLoop, Callable[[], Any]]:
    patch.object(http_app, "warn", _warned).start()
    config = uvicorn.Config(
        http_app.HttpApp(_registry()), http=Connection, ws="none", lifespan="off", log_config=None, access_log=False
    )
    config.load()
    loop = asyncio.new_event_loop()
    return loop, lambda: Connection(config, ServerState(), {}, loop)


def _http(data: bytes) -> None:
    """Bytes -> one connection, in pieces that NUL 1 separates; then the client leaves."""
    loop, connection = _web()
    wire = _Wire()

    async def talk() -> None:
        protocol = connection()
        protocol.connection_made(wire)
        for piece in data.split(b"\0\1"):
            if piece and not wire.is_closing():
                protocol.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(8):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        while protocol.tasks:
            await asyncio.wait(list(protocol.tasks))

    loop.run_until_complete(asyncio.wait_for(talk(), 20))
    assert _registry()._held == 0, "bytes are held that nobody sends any more"
    for line in wire.written.split(b"\r\n"):
        if line.startswith(b"HTTP/1.1 "):
            assert int(line[9:12]) in _STATUSES, line
    assert b"internal error" not in wire.written


@cache
def _handlers() -> list[tuple[str, Any]]:
    services: list[Any] = []
    server = SimpleNamespace(add_generic_rpc_handlers=services.extend)
    patch.object(grpc_service, "warn", _warned).start()
    with patch.object(grpc.aio, "server", lambda **_: server):
        grpc_service.new_server(_registry(), max_queue=8)
    path = f"/{grpc_service.SERVICE}/"
    names = [name.removesuffix("Request") for name in message_classes() if name.endswith("Request")]
    details = [SimpleNamespace(method=path + name, invocation_metadata=()) for name in ("ModelInfer", *names)]
    return [(each.method, services[0].service(each).unary_unary) for each in details]


class _Call:
    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def time_remaining(self) -> float | None:
        return None

    async def abort(self, code: Any, details: str) -> None:
        assert code.name != "INTERNAL", details
        raise _AbortedError


def _grpc(data: bytes) -> None:
    """Bytes -> a method, and its message; those of inference also to their images."""
    which = data[0] % len(_handlers()) if data[:1] > b"\x80" else 0
    method, handler = _handlers()[which]
    try:
        handler(data[1:], _Call()).send(None)
    except (StopIteration, _AbortedError):
        pass
    else:
        raise AssertionError(f"{method} waits for something")


def _forms() -> list[bytes]:
    size = 8 * 8 * 3
    tensor = {"name": "pixels", "shape": [1, 8, 8, 3], "datatype": "UINT8"}
    outputs = [{"name": "logits", "parameters": {"binary_data": True, "classification": 2}}]
    inside = json.dumps({"inputs": [tensor | {"data": [1] * size}], "outputs": outputs, "id": "a"}).encode()
    parameters = {"parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor | parameters], "parameters": {"timeout": 9}}).encode()
    files = json.dumps({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["aGk="]}]}).encode()
    instances = json.dumps({"instances": [{"image_bytes": {"b64": "aGk="}}]}).encode()
    behind = b"%d\n" % len(head) + head + bytes(size)
    return [b"\0" + inside, b"\x40" + behind, b"\0" + files, b"\x80" + instances, b"\xc0GIF89a"]


def _connections() -> list[bytes]:
    body = _forms()[0][1:]
    post = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    chunked = b'POST /v1/models/m:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n0\r\n\r\n'
    odd = b"GET /v2/models/m/ready HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nOrigin: null\r\n\r\n"
    return [
        post + body,
        post + b"\0\1" + body,
        chunked,
        odd,
        b"GET / HTTP/1.0\r\n\r\n",
        b"HEAD /metrics HTTP/1.1\r\n\r\n" * 2,
    ]


def _calls() -> list[bytes]:
    kind = message_classes()["ModelInferRequest"]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 3]}
    whole = kind(model_name="m", inputs=[tensor], raw_input_contents=[bytes(192)])
    whole.parameters["timeout"].int64_param = 9
    wanted = kind(
        model_name="m", inputs=[tensor | {"contents": {"uint_contents": [1] * 192}}], outputs=[{"name": "logits"}]
    )
    return [b"\0" + whole.SerializeToString(), b"\0" + wanted.SerializeToString(), b"\x85\x0a\x01m"]


_JSON_WORDS = ("inputs", "outputs", "shape", "datatype", "data", "parameters", "binary_data_size", "UINT8", "BYTES")

REQUESTS: dict[str, FuzzTarget] = {
    "json": FuzzTarget(_form, _forms, (*_JSON_WORDS, "instances", "b64", "image_bytes", "timeout", "classification")),
    "http": FuzzTarget(
        _http,
        _connections,
        ("Content-Length: ", "Transfer-Encoding: chunked", "Upgrade: ", "Expect: 100-continue", " HTTP/1.1"),
    ),
    "grpc": FuzzTarget(_grpc, _calls, ("pixels", "image", "logits", "UINT8", "BYTES", "timeout")),
}
"""What a server's clients send, by name."""
