"""`lstn serve` against nonsense: the first cases of benchmarks/serve_fuzz.py, and heads of requests that never end."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from serving import Server, random_pixels
from tiny import Tiny

from benchmarks import serve_fuzz
from lstn.runtime.serving.protocols import heads
from lstn.runtime.serving.requests.limits import MAX_HEAD_BYTES

BUFFERED = 30 << 20
"""More than the kernel takes in before anyone looks."""


def test_nonsense_is_answered_politely_and_the_server_serves_on(server: Server, model: Tiny) -> None:
    pixels = random_pixels(2, 0)
    target = serve_fuzz.Target(server.http_port, server.grpc_port, "model", pixels, model.logits(pixels))
    findings = serve_fuzz.Findings()
    serve_fuzz.fuzz(target, range(600), findings)
    assert findings.wrong == []
    assert findings.told.total() == 600
    assert {"grpc OK", "grpc INVALID_ARGUMENT", "http 200", "http 400", "http 404", "http 405"} <= set(findings.told)


def test_a_wrong_answer_would_be_found(server: Server, model: Tiny) -> None:
    pixels = random_pixels(2, 0)
    target = serve_fuzz.Target(server.http_port, server.grpc_port, "model", pixels, model.logits(pixels) + 1)
    found = serve_fuzz.still_right(target)
    assert [words.rpartition(": ")[2] for words in found] == ["a good request is answered wrong"] * 2


def flood(connection: socket.socket, piece: bytes) -> None:
    for _ in range(0, MAX_HEAD_BYTES + BUFFERED, len(piece)):
        connection.sendall(piece)


def read_until(connection: socket.socket, what: bytes, times: int = 1) -> bytes:
    data = b""
    while data.count(what) < times:
        data += connection.recv(1 << 16) or pytest.fail(f"closed after {data!r}")
    return data


@pytest.mark.parametrize("start", [b"GET /", b"GET /v2 HTTP/1.1\r\nX: ", b"GET /v2 HTTP/1.1\r\n"])
@pytest.mark.parametrize("first", [b"", b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "second"])
def test_a_head_that_never_ends_is_cut_off(server: Server, start: bytes, first: bytes) -> None:
    piece = b"x: y\r\n" * 1000 if start.endswith(b"1.1\r\n") else b"x" * 6000
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        if first:
            connection.sendall(first)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(start)
        with pytest.raises(ConnectionError):
            flood(connection, piece)


def test_a_large_body_after_a_small_head_and_many_requests_on_one_connection_are_fine(server: Server) -> None:
    body = b"{}" + b" " * (4 * MAX_HEAD_BYTES)
    head = f"POST /v2/models/model/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        for _ in range(5):
            connection.sendall(head)
            connection.sendall(body)
            assert b"inputs must be a list" in read_until(connection, b"}")
        connection.sendall((b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000 + b"\r\n") * 40)
        assert b" 400 " not in read_until(connection, b'{"live": true}', 40)


@contextmanager
def answering(body: bytes = b"") -> Iterator[int]:
    """A server with our connections in this process; yields its port."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(app, http=heads.Connection, lifespan="off", log_config=None, log_level="critical")
    web = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(web.serve([listening])))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            web.should_exit = True
            thread.join()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: y\r\n"])
def test_a_head_that_stops_coming_is_waited_for_no_longer_than_allowed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(heads, "READ_TIMEOUT_S", 0.3)
    with answering() as port, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection(("127.0.0.1", port), timeout=20) as another:
            another.sendall(sent)
            assert another.recv(1) == b""
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # one that isn't sending a head is left alone
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_take_in_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "WRITE_TIMEOUT_S", 0.3)
    body = bytes(BUFFERED)
    with answering(body) as port:
        for waits in (True, False):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                time.sleep(1.5 if waits else 0)
                assert (len(read_until_closed(connection)) < len(body)) is waits


def read_until_closed(connection: socket.socket) -> bytes:
    data = bytearray()
    while piece := connection.recv(1 << 20):
        data += piece
    return bytes(data)
