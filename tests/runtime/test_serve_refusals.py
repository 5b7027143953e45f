"""What `lstn serve` refuses over HTTP: in its own words, without a path, a version or a traceback, and serving on."""

import json
import re
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import SHAPE, ZEROS, Server, body_of
from tiny import SIDE

from lstn.runtime.serving.requests.limits import MAX_BODY_BYTES, MAX_JSON_BYTES

INFER = "/v2/models/model/infer"


GOOD = {"name": "pixels", "datatype": "UINT8", "shape": SHAPE, "data": ZEROS}


def check_words(server: Server, headers: dict[str, str], body: bytes) -> str:
    """Every refusal is one JSON object with one line, and tells a stranger nothing."""
    told = json.loads(body)
    assert list(told) == ["error"]
    assert not re.search(r"/(tmp|home|usr|root)|Traceback|\.py|\d+\.\d+\.\d+|0x[0-9a-f]|\n", told["error"])
    assert not {"server", "access-control-allow-origin", "x-powered-by"} & set(headers)
    return str(told["error"])


def changed(**fields: object) -> bytes:
    return body_of([GOOD | fields])


def binary(size: object, behind: bytes, **fields: object) -> tuple[bytes, dict[str, str]]:
    text = body_of([{**GOOD, "parameters": {"binary_data_size": size}, **fields} | {"data": None}])
    text = text.replace(b', "data": null', b"")
    return text + behind, {"Inference_Header_Content_Length": str(len(text))}


BODIES = {
    "empty": (b"", "the request is empty"),
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b'{"inputs": "\xff"}', "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "deep data": (
        b'{"inputs": [{"name": "pixels", "data": ' + b"[" * 900 + b"]" * 900 + b"}]}",
        "shape must be a list",
    ),
    "a list": (b"[]", "the request must be a JSON object"),
    "nothing": (b"{}", "inputs must be a list"),
    "no inputs": (body_of([]), "expected one input, pixels or image"),
    "two inputs": (body_of([GOOD, GOOD]), "expected one input"),
    "many inputs": (body_of([GOOD] * 17), "at most 16"),
    "an input that is none": (body_of([7]), "an input must be a JSON object"),
    "another input": (changed(name="x"), "expected one input"),
    "a number for a name": (changed(name=7), "must be text"),
    "a long name": (changed(name="x" * 300), "must be text"),
    "another type": (changed(datatype="FP32"), "must be UINT8 [n, 8, 8, 3]"),
    "another size": (changed(shape=[1, 9, 8, 3]), "must be UINT8 [n, 8, 8, 3]"),
    "another rank": (changed(shape=[SIDE, SIDE, 3]), "must be UINT8"),
    "a negative size": (changed(shape=[-1, SIDE, SIDE, 3]), "whole numbers"),
    "a truth for a size": (changed(shape=[True, SIDE, SIDE, 3]), "whole numbers"),
    "a huge size": (changed(shape=[1 << 62, SIDE, SIDE, 3]), "whole numbers"),
    "more images than are there": (changed(shape=[2, SIDE, SIDE, 3]), "384 whole numbers"),
    "more images than wait": (changed(shape=[41, SIDE, SIDE, 3]), "from 1 to 40"),
    "no image": (changed(shape=[0, SIDE, SIDE, 3], data=[]), "holds no image"),
    "too few values": (changed(data=[0] * 7), "192 whole numbers from 0 to 255"),
    "256": (changed(data=[256, *ZEROS[1:]]), "0 to 255"),
    "-1": (changed(data=[-1, *ZEROS[1:]]), "0 to 255"),
    "1e30": (changed(data=[10**30, *ZEROS[1:]]), "0 to 255"),
    "a fraction": (changed(data=[0.5, *ZEROS[1:]]), "0 to 255"),
    "text": (changed(data=["0", *ZEROS[1:]]), "0 to 255"),
    "ragged": (changed(data=[[0], *ZEROS[1:]]), "0 to 255"),
    "true": (changed(data=[True] * len(ZEROS)), "0 to 255"),
    "null": (changed(data=None), "data must be a list"),
    "an image as text": (body_of([{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"]}]), "base64"),
    "another output": (body_of([GOOD], outputs=[{"name": "loss"}]), "some of logits, theta, label, probability"),
    "an output twice": (body_of([GOOD], outputs=[{"name": "theta"}] * 2), "each once"),
    "an id that is not text": (body_of([GOOD], id=7), "id must be text"),
    "a timeout that is not a number": (body_of([GOOD], parameters={"timeout": "1"}), "microseconds"),
    "a flag that is none": (body_of([GOOD], parameters={"binary_data_output": 1}), "true or false"),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_no_request_is_the_clients_fault(server: Server, what: str) -> None:
    body, told = BODIES[what]
    status, headers, answer = server.ask("POST", INFER, body)
    assert status == 400
    assert told in check_words(server, headers, answer)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (binary(192, b"\0" * 191), "how many of the bytes"),
        (binary(192, b"\0" * 193), "1 byte more than its inputs take"),
        (binary(191, b"\0" * 191), "191 bytes, its shape says 192"),
        (binary(-1, b""), "how many of the bytes"),
        (binary("192", b"\0" * 192), "how many of the bytes"),
        (binary(3, b"\4\0\0", name="image", datatype="BYTES", shape=[1]), "ends within an element"),
        (binary(8, b"\xff\xff\xff\xffABCD", name="image", datatype="BYTES", shape=[1]), "ends within an element"),
        (binary(8, b"\0" * 8, name="image", datatype="BYTES", shape=[1]), "doesn't hold what its shape says, 1 file"),
        (binary(4, b"\0" * 4, name="image", datatype="BYTES", shape=[1]), "the file is empty"),
        ((b"{}", {"Inference_Header_Content_Length": "3"}), "not a length within the request"),
        ((b"{}", {"Inference_Header_Content_Length": "-1"}), "not a length within the request"),
    ],
)
def test_bytes_that_fit_no_tensor_are_the_clients_fault(
    server: Server, sent: tuple[bytes, dict[str, str]], told: str
) -> None:
    body, headers = sent
    status, answered, answer = server.ask("POST", INFER, body, **headers)
    assert status == 400
    assert told in check_words(server, answered, answer)


@pytest.mark.parametrize(
    ("method", "path", "headers", "wanted"),
    [
        ("GET", "/v2/models/none", {}, 404),
        ("GET", "/v2/models/model/versions/2", {}, 404),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", {}, 404),
        ("GET", "/v1/models/none", {}, 404),
        ("GET", "/v1/models/model/versions/1", {}, 404),
        ("GET", "/v2/models/model/other", {}, 404),
        ("POST", "/v2/models/infer", {}, 405),
        ("POST", "/v2/nothing", {}, 404),
        ("GET", "/docs", {}, 404),
        ("GET", "/%ff%00", {}, 404),
        ("GET", INFER, {}, 405),
        ("DELETE", "/v2", {}, 405),
        ("OPTIONS", INFER, {"Origin": "https://evil.example"}, 403),
        ("POST", INFER, {"Origin": "https://evil.example"}, 403),
        ("POST", INFER, {"Origin": "http://[broken"}, 403),
        ("POST", "/v2/models/none/infer", {}, 404),
        ("POST", INFER, {"Content_Encoding": "gzip"}, 415),
    ],
)
def test_other_addresses_are_refused(
    server: Server, method: str, path: str, headers: dict[str, str], wanted: int
) -> None:
    status, answered, answer = server.ask(method, path, body_of([GOOD]), **headers)
    assert status == wanted
    check_words(server, answered, answer)


def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=20) as connection:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    status, headers, body = server.ask("POST", INFER, b" " * (MAX_JSON_BYTES + 1))
    assert (status, check_words(server, headers, body)[:22]) == (413, "the request has more t")


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["pixels", "image"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "datatype", "shape", "data", "inputs", "outputs", "parameters", "id", "x"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200) | ANY_JSON.map(lambda value: json.dumps(value).encode()), st.none() | st.integers(-2, 99)
)
def test_whatever_is_sent_is_answered_and_never_with_500(server: Server, body: bytes, length: int | None) -> None:
    headers = {} if length is None else {"Inference_Header_Content_Length": str(length)}
    status, answered, answer = server.ask("POST", INFER, body, **headers)
    assert status in (400, 413)
    check_words(server, answered, answer)
