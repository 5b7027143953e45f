"""The HTTP of `lstn serve` as clients speak it: bodies too large, heads, other protocols, pages, methods, IPv6."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from serving import Server, outputs_of, png, random_pixels, serving
from tiny import Tiny

from lstn.runtime.serving.requests.limits import MAX_BODY_BYTES, MAX_HEAD_BYTES

INFER, PREDICT = "/v2/models/model/infer", "/v1/models/model:predict"


OVER = bytes(MAX_BODY_BYTES + (1 << 20))


def pieces() -> Iterator[bytes]:
    yield from (OVER[start : start + (1 << 20)] for start in range(0, len(OVER), 1 << 20))


def by_http_client(server: Server, path: str, body: object, **options: Any) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    connection.request("POST", path, body, **options)  # type: ignore[arg-type]
    answer = connection.getresponse()
    assert json.loads(answer.read())["error"]
    return answer.status


def by_urllib(server: Server) -> int:
    with pytest.raises(urllib.error.HTTPError, match="413") as refused:
        urllib.request.urlopen(f"http://{server.http}{INFER}", data=OVER, timeout=30)
    assert "larger than 64 MiB" in json.loads(refused.value.read())["error"]
    return refused.value.code


def test_clients_that_send_everything_first_read_why_it_is_too_much(server: Server) -> None:
    assert by_http_client(server, INFER, OVER) == 413
    chunked = {"encode_chunked": True, "headers": {"Transfer-Encoding": "chunked"}}
    assert by_http_client(server, INFER, pieces(), **chunked) == 413
    assert by_urllib(server) == 413
    assert by_http_client(server, "/v2/models/none/infer", OVER[: 20 << 20]) == 404
    assert by_http_client(server, INFER, OVER[: 20 << 20], headers={"Content-Encoding": "gzip"}) == 415
    assert by_http_client(server, INFER, OVER[: 20 << 20], headers={"Origin": "http://evil.example"}) == 403
    assert by_http_client(server, INFER, b" " * (10 << 20)) == 413  # JSON, by its limit


def receive(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def test_a_client_that_asks_first_is_refused_before_it_sends(server: Server) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        connection.sendall((head % (MAX_BODY_BYTES + 1)).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        file = png(random_pixels(1, 0)[0])
        connection.sendall((head % len(file)).encode())
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(file)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_get_with_a_body_that_never_comes_is_answered_at_once(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=5) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /v2 HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 300_000), 431),
        (b"NONSENSE\r\n\r\n" + b"x" * 500_000, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /v2 HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ],
    ids=["long head", "nonsense", "http/2", "tls", "negative", "two lengths", "length and chunks", "connect"],
)
def test_a_head_that_is_none_is_told_so_in_json(server: Server, sent: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        for start in range(0, len(sent), 60_000):
            connection.sendall(sent[start : start + 60_000])
            time.sleep(0.002)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = receive(connection).partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert list(json.loads(body)) == ["error"]


def test_a_chunk_of_no_size_is_refused_in_json(server: Server) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        connection.sendall(head + b"4\r\n\x89PNG\r\n")
        time.sleep(0.05)  # the request is read by then, and waits for the rest
        connection.sendall(b"nonsense\r\n")
        connection.shutdown(socket.SHUT_WR)
        answered, _, body = receive(connection).partition(b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body) == {"error": "the request is not HTTP/1.1"}


def test_nonsense_behind_a_request_does_not_take_its_answer(server: Server) -> None:
    """Two requests at once and then nonsense: what is answered is answered to the first ones, in order."""
    file = png(random_pixels(1, 0)[0])
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(file)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        connection.sendall(head + file + b"NONSENSE\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = receive(connection)
    assert not answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "byte by byte"])
def test_an_offer_of_another_protocol_is_passed_over_and_the_body_is_read(
    server: Server, model: Tiny, apart: bool
) -> None:
    """Java's own client offers HTTP/2 with every first request, as `curl --http2` does."""
    pixels = random_pixels(1, 3)
    file = png(pixels[0])
    head = (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        f"HTTP2-Settings: AAEAAEAAAAIAAAAB\r\nContent-Length: {len(file)}\r\n\r\n"
    ).encode()
    follows = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    sent = head + file + follows
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        for start in range(0, len(sent), 1 if apart else len(sent)):
            connection.sendall(sent[start : start + (1 if apart else len(sent))])
        answer = receive(connection)
    assert answer.count(b"HTTP/1.1 200 ") == 2
    body = answer.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")[0]
    np.testing.assert_allclose(outputs_of(body)["logits"], model.logits(pixels), atol=1e-3)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://our.example", "Sec_Fetch_Site": "same-origin"}, 200),  # behind a proxy's own Host
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "https://our.example"}, 403),
        ({"Origin": "https://our.example", "Host": "our.example"}, 200),  # a proxy that passes it on
        ({"Origin": "null", "Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
def test_pages_are_told_apart_by_what_the_browser_says_or_by_the_host(
    server: Server, headers: dict[str, str], status: int
) -> None:
    sent = {name: value.format(port=server.http_port) for name, value in headers.items()}
    assert server.ask("POST", INFER, png(random_pixels(1, 0)[0]), **sent)[0] == status


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", INFER, "POST"), ("PUT", INFER, "POST"), ("POST", "/v2", "GET, HEAD"), ("GET", PREDICT, "POST")],
)
def test_another_method_is_told_which_ones_there_are(server: Server, method: str, path: str, allowed: str) -> None:
    status, headers, _ = server.ask(method, path)
    assert (status, headers["allow"]) == (405, allowed)


def test_heads_have_the_length_of_the_body_and_no_body(server: Server) -> None:
    for path in ("/", "/v2", "/metrics", "/v2/models/model/config", "/nothing"):
        _, headers, body = server.ask("HEAD", path)
        assert body == b""
        assert path == "/metrics" or int(headers["content-length"]) == len(server.ask("GET", path)[2])


def test_all_of_it_works_over_ipv6(model: Tiny) -> None:
    command = [sys.executable, "-m", "lstn", "serve", "--host", "::1", "--http-port", "0", "--grpc-port", "0"]
    with subprocess.Popen([*command, "--engine", str(model.path)], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            web, calls = line.split(" at http://")[1].strip().split(" and gRPC ")
            file = png(random_pixels(1, 0)[0])
            with urllib.request.urlopen(f"http://{web}{INFER}", data=file, timeout=20) as answer:
                assert answer.status == 200
            assert tritonclient.grpc.InferenceServerClient(calls).is_model_ready("model")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_many_models_are_served_at_once(model: Tiny) -> None:
    names = [f"m{number}" for number in range(20)]
    arguments = [word for name in names for word in ("--engine", model.path, "--name", name)]
    file = png(random_pixels(1, 0)[0])
    with serving(*arguments) as running:
        assert json.loads(running.ask("GET", "/v2/models")[2]) == {"models": names}
        answers = {
            running.ask("POST", f"/v2/models/{name}/infer", file)[2].replace(name.encode(), b"") for name in names
        }
        assert len(answers) == 1
        assert len(json.loads(running.ask("GET", "/v2/models/stats")[2])["model_stats"]) == 20
