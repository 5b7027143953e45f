"""Clients of the server that send what is wrong, take their time, or leave; each says what became of it."""

import json
import random
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.serve_fuzz import grpc_answer, http_answer
from benchmarks.support.serve_cases import case_of
from benchmarks.support.serve_process import MODEL
from benchmarks.support.soaking.two_versions import TwoVersions
from lstn.runtime.serving.requests.limits import MAX_BODY_BYTES, MAX_HEAD_BYTES, READ_TIMEOUT_S, WRITE_TIMEOUT_S

WRONG = "wrong: "
"""What is said of an answer begins with it, if the server must not answer so."""

GRACE_S = 15.0
"""How much later than by its limits a server may lose patience; the machine has other work."""

_IDLE_S = 65.0
"""How long it keeps a connection without a request."""

_DRIP_S = 1.0

_LONG_HEAD = 8 * MAX_HEAD_BYTES
"""More than the limit and what arrives at once, 256 KiB: of less, the end may come together with what is too much."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a client has to know. chance: this client's own"""

    versions: TwoVersions
    ports: tuple[int, int]
    chance: random.Random

    def connect(self, *, receive_bytes: int = 0) -> socket.socket:
        """Open a connection over HTTP. receive_bytes: that the system may hold for it, 0 for its default"""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.ports[0]))
        return connection

    @property
    def side(self) -> int:
        """Of the images that the model takes, in pixels."""
        return self.versions.pixels.shape[1]

    def request(self) -> bytes:
        """Return a whole request with one image."""
        return _posted(self.versions.files[self.chance.randrange(len(self.versions.files))])


def _posted(body: bytes, *headers: str, path: str = f"/v2/models/{MODEL}/infer", length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def _spoilt(meeting: Meeting) -> tuple[bytes, str]:
    """Return a request that is wrong, and the status that it must get."""
    file = meeting.versions.files[0]
    other = {"name": "pixels", "datatype": "UINT8", "shape": [1, meeting.side + 1, 3, 3], "data": [0] * 9}
    return meeting.chance.choice(
        (
            (_posted(file[: len(file) // 2]), "400"),
            (_posted(b'{"inputs": [{"name": '), "400"),
            (_posted(json.dumps({"inputs": [other]}).encode()), "400"),
            (_posted(json.dumps({"instances": [{"b64": "!"}]}).encode(), path=f"/v1/models/{MODEL}:predict"), "400"),
            (_posted(file, path="/v2/models/unknown/infer"), "404"),
            (_posted(file, path="/no/such/page"), "404"),
            (_posted(b"", f"X: {'x' * _LONG_HEAD}"), "431"),
            (_posted(b"", length=MAX_BODY_BYTES + 1), "413"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"),
        )
    )


def _bad(meeting: Meeting) -> str:
    data, wanted = _spoilt(meeting)
    with meeting.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        status = _status_in(connection)
    return status if status == wanted else f"{WRONG}{status} for {data[:80]!r}, expected {wanted}"


def _fuzzed(meeting: Meeting) -> str:
    import grpc

    number = meeting.chance.randrange(1 << 40)
    case = case_of(number, model=MODEL, side=meeting.side)
    if case.method is None:
        told, fault = http_answer(meeting.ports[0], case)
    else:
        with grpc.insecure_channel(f"127.0.0.1:{meeting.ports[1]}") as channel:
            told, fault = grpc_answer(channel, case)
    return f"{WRONG}case {number}: {told}: {fault[:200]}" if fault else told


def _drips_head(meeting: Meeting) -> str:
    return _dripped(meeting, b"", b"GET /v2 HTTP/1.1\r\n" + b"X: " + b"x" * 1000)


def _drips_body(meeting: Meeting) -> str:
    return _dripped(meeting, _posted(b"", length=100_000), b"x" * 1000)


def _dripped(meeting: Meeting, at_once: bytes, dripped: bytes) -> str:
    """Send a byte now and then; the server must answer or close once it has waited long enough."""
    began = time.monotonic()
    with meeting.connect() as connection:
        connection.sendall(at_once)
        connection.settimeout(_DRIP_S)
        for byte in dripped:
            try:
                connection.sendall(bytes([byte]))
                status = _status_of(connection.recv(1 << 16))
            except TimeoutError:
                if time.monotonic() - began > READ_TIMEOUT_S + GRACE_S:
                    return f"{WRONG}it is still read after {time.monotonic() - began:.0f} s"
                continue
            except ConnectionError:
                status = "closed"
            early = time.monotonic() - began < READ_TIMEOUT_S - 1
            return f"{WRONG}{status} after {time.monotonic() - began:.0f} s" if early else status
    return f"{WRONG}it was read to its end"


def _never_reads(meeting: Meeting) -> str:
    """Ask for page after page and take nothing in; the server must cut the connection."""
    began, request = time.monotonic(), b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    limit = WRITE_TIMEOUT_S + _IDLE_S + GRACE_S
    with meeting.connect(receive_bytes=4096) as connection:
        connection.settimeout(_DRIP_S)
        while time.monotonic() - began < limit:
            try:
                connection.sendall(request)
                time.sleep(0.01 if time.monotonic() - began < 3 else _DRIP_S)
            except TimeoutError:
                continue
            except ConnectionError:
                return "closed"
    return f"{WRONG}it is not cut off after {limit:.0f} s"


def _falls_silent(meeting: Meeting) -> str:
    """Ask, read the answer, and keep the connection; the server must close it."""
    with meeting.connect() as connection:
        connection.sendall(meeting.request())
        status = _status_in(connection)
        connection.settimeout(_IDLE_S + GRACE_S)
        try:
            while connection.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return f"{WRONG}it is not closed after {_IDLE_S + GRACE_S:.0f} s"
    return "closed" if status == "200" else f"{WRONG}{status}"


def _leaves(meeting: Meeting) -> str:
    """Send a part of a request, or all of it, and go without reading; half of them with a reset."""
    request = meeting.request()
    head = request.index(b"\r\n\r\n")
    sent = meeting.chance.choice((head // 2, head + 4, (head + len(request)) // 2, len(request)))
    with meeting.connect() as connection:
        connection.sendall(request[:sent])
        if sent == len(request) and meeting.chance.random() < 0.5:
            time.sleep(meeting.chance.uniform(0, 0.01))
        if meeting.chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "left"


def _cancels(meeting: Meeting) -> str:
    """Call over gRPC with an image and cancel at once, or let a short deadline pass."""
    import grpc
    from tritonclient.grpc import service_pb2 as messages

    request = messages.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="pixels", datatype="UINT8", shape=[1, meeting.side, meeting.side, 3])
    request.raw_input_contents.append(meeting.versions.pixels[0].tobytes())
    with grpc.insecure_channel(f"127.0.0.1:{meeting.ports[1]}") as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        call = method.future(request.SerializeToString(), timeout=meeting.chance.choice((30, 0.002)))
        time.sleep(meeting.chance.uniform(0, 0.01))
        call.cancel()
    return "left"


def _status_in(connection: socket.socket) -> str:
    try:
        return _status_of(connection.recv(1 << 16))
    except ConnectionError:
        return "closed"
    except TimeoutError:
        return "no answer"


def _status_of(answer: bytes) -> str:
    return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"


Meet = Callable[[Meeting], str]

RUDE: Mapping[str, Meet] = {
    "bad requests": _bad,
    "fuzzed requests": _fuzzed,
    "clients that leave": _leaves,
    "calls that are cancelled": _cancels,
}
"""A kind of client -> lets it meet the server once. They are soon through."""

SLOW: Mapping[str, Meet] = {
    "heads that drip": _drips_head,
    "bodies that drip": _drips_body,
    "answers that are not read": _never_reads,
    "connections that fall silent": _falls_silent,
}
"""The same, and they take a minute or two."""
