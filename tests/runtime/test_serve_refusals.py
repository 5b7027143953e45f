"""What `lstn serve` doesn't take: in words of its own, without a path, a version or a traceback, and serving on."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from command import RunLstn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import Server, body_of, files_input, png, serving
from tiny import SIDE, Tiny, proto_of
from tiny_fixtures import LABELS, tiny_at
from tritonclient.grpc import service_pb2

from lstn.contract import Loc
from lstn.runtime.serving.access import MAX_BODY_BYTES, MAX_JSON_BYTES

INFER = "/v2/models/model/infer"
SHAPE = [1, SIDE, SIDE, 3]
ZEROS = [0] * (SIDE * SIDE * 3)
GOOD = {"name": "pixels", "datatype": "UINT8", "shape": SHAPE, "data": ZEROS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    tiny = tiny_at(tmp_path_factory.mktemp("served") / "model.onnx", loc=Loc.LSTN, labels=LABELS, seed=0)
    tiny.path.write_bytes(proto_of(tiny).SerializeToString())
    with serving("--engine", tiny.path, "--max-queue", 40, "--max-wait-ms", 0) as running:
        yield running
        assert running.stop() == (0, "")  # nothing was written about what anyone sent


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
    "empty": (b"", "not JSON"),
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b'{"inputs": "\xff"}', "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "deep data": (
        b'{"inputs": [{"name": "pixels", "data": ' + b"[" * 900 + b"]" * 900 + b"}]}",
        "shape must be a list",
    ),
    "a list": (b"[]", "the request must be a JSON object"),
    "nothing": (b"{}", "inputs must be a list"),
    "no inputs": (body_of([]), "wanted one input, pixels or image"),
    "two inputs": (body_of([GOOD, GOOD]), "wanted one input"),
    "many inputs": (body_of([GOOD] * 17), "at most 16"),
    "an input that is none": (body_of([7]), "an input must be a JSON object"),
    "another input": (changed(name="x"), "wanted one input"),
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
    "an image as text": (body_of([{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"]}]), "binary data"),
    "another output": (body_of([GOOD], outputs=[{"name": "loss"}]), "some of logits, theta, label, probability"),
    "an output twice": (body_of([GOOD], outputs=[{"name": "theta"}] * 2), "each once"),
    "an id that is no text": (body_of([GOOD], id=7), "id must be text"),
    "a timeout that is no number": (body_of([GOOD], parameters={"timeout": "1"}), "microseconds"),
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
        (binary(192, b"\0" * 193), "1 bytes that belong to no input"),
        (binary(191, b"\0" * 191), "191 bytes, its shape says 192"),
        (binary(-1, b""), "how many of the bytes"),
        (binary("192", b"\0" * 192), "how many of the bytes"),
        (binary(3, b"\4\0\0", name="image", datatype="BYTES", shape=[1]), "ends within an element"),
        (binary(8, b"\xff\xff\xff\xffABCD", name="image", datatype="BYTES", shape=[1]), "ends within an element"),
        (binary(8, b"\0" * 8, name="image", datatype="BYTES", shape=[1]), "doesn't hold the 1 files"),
        (binary(4, b"\0" * 4, name="image", datatype="BYTES", shape=[1]), "the file is empty"),
        ((b"{}", {"Inference_Header_Content_Length": "3"}), "no length within the request"),
        ((b"{}", {"Inference_Header_Content_Length": "-1"}), "no length within the request"),
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
        ("GET", "/v2/models/model/config", {}, 404),
        ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", {}, 404),
        ("GET", "/v1/models", {}, 404),
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


def test_pictures_that_are_too_large_together_are_refused_before_one_is_decoded(server: Server, tmp_path: Path) -> None:
    Image.new("1", (8000, 7000)).save(tmp_path / "large.png")
    file = (tmp_path / "large.png").read_bytes()
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    with pytest.raises(tritonclient.grpc.InferenceServerException, match="more than 100 million pixels together"):
        client.infer("model", [files_input(tritonclient.grpc, [file, file])])
    assert client.infer("model", [files_input(tritonclient.grpc, [file])]).as_numpy("logits").shape == (1, 4)


def test_a_damaged_picture_is_named_by_its_number(server: Server) -> None:
    good = png(np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3))
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    for bad in (good[: len(good) // 2], b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", b""):
        with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
            client.infer("model", [files_input(tritonclient.grpc, [good, bad])])
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert re.fullmatch(r"image 1: (damaged image|not an image|the file is empty)", refused.value.message())


def call(server: Server, method: str, data: bytes) -> bytes:
    with grpc.insecure_channel(server.grpc) as channel:
        answer: bytes = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(data, timeout=20)
        return answer


def sent(**fields: Any) -> bytes:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=SHAPE)
    fields = {"model_name": "model", "inputs": [tensor], "raw_input_contents": [bytes(ZEROS)]} | fields
    data: bytes = service_pb2.ModelInferRequest(**fields).SerializeToString()
    return data


def typed(datatype: str, name: str = "pixels", shape: tuple[int, ...] = tuple(SHAPE), **contents: Any) -> Any:
    return service_pb2.ModelInferRequest.InferInputTensor(
        name=name, datatype=datatype, shape=shape, contents=service_pb2.InferTensorContents(**contents)
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\xff\xff\xff", "INVALID_ARGUMENT"),
        (b"\x0a\x05m", "INVALID_ARGUMENT"),
        (sent(model_name="none"), "NOT_FOUND"),
        (sent(model_version="2"), "NOT_FOUND"),
        (sent(inputs=[]), "INVALID_ARGUMENT"),
        (sent(raw_input_contents=[b"", b""]), "INVALID_ARGUMENT"),
        (sent(raw_input_contents=[bytes(191)]), "INVALID_ARGUMENT"),
        (sent(raw_input_contents=[], inputs=[typed("UINT8", uint_contents=[256] * 192)]), "INVALID_ARGUMENT"),
        (sent(raw_input_contents=[], inputs=[typed("UINT8", shape=(-1, 8, 8, 3))]), "INVALID_ARGUMENT"),
        (sent(raw_input_contents=[], inputs=[typed("FP32", fp32_contents=[0.5] * 192)]), "INVALID_ARGUMENT"),
        (
            sent(raw_input_contents=[], inputs=[typed("BYTES", "image", (1,), bytes_contents=[b"x"])]),
            "INVALID_ARGUMENT",
        ),
        (sent(inputs=[typed("UINT8", uint_contents=ZEROS)]), "INVALID_ARGUMENT"),
        (sent(outputs=[{"name": "loss"}]), "INVALID_ARGUMENT"),
        (sent(parameters={"timeout": {"string_param": "1"}}), "INVALID_ARGUMENT"),
        (sent(parameters={"timeout": {"int64_param": -1}}), "INVALID_ARGUMENT"),
    ],
)
def test_a_call_that_is_no_request_is_the_clients_fault(server: Server, data: bytes, status: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(server, "ModelInfer", data)
    assert refused.value.code().name == status  # type: ignore[attr-defined]
    assert not re.search(r"/|Traceback|Error", refused.value.details())  # type: ignore[attr-defined]


def test_typed_contents_do_as_well_as_raw_ones(server: Server) -> None:
    raw = service_pb2.ModelInferResponse.FromString(call(server, "ModelInfer", sent()))
    numbers = sent(raw_input_contents=[], inputs=[typed("UINT8", uint_contents=ZEROS)])
    files = sent(
        raw_input_contents=[],
        inputs=[typed("BYTES", "image", (1,), bytes_contents=[png(np.zeros((SIDE, SIDE, 3), np.uint8))])],
    )
    for data in (numbers, files):
        assert service_pb2.ModelInferResponse.FromString(call(server, "ModelInfer", data)) == raw


def test_calls_that_are_compressed_or_unknown_are_refused(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(server, "RepositoryModelLoad", b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    with grpc.insecure_channel(server.grpc, compression=grpc.Compression.Gzip) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            ask(sent(raw_input_contents=[bytes(1 << 20)]), timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


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


def code_of(ask: Any, message: bytes) -> str:
    try:
        ask(message, timeout=20)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return str(code.name)
    return "OK"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.data())
def test_whatever_is_called_is_the_clients_fault(server: Server, junk: bytes, data: st.DataObject) -> None:
    good = sent()
    at = data.draw(st.integers(0, len(good)))
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for message in (junk, good[:at] + junk + good[at:], good[:at]):
            assert code_of(ask, message) in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED")


@pytest.fixture
def port() -> Iterator[int]:
    """One that is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "--host 0.0.0.0: other machines could use the server"),
        (["--host", "::"], 2, "--host ::: other machines could use the server"),
        (["--host", "example.org"], 2, "--host example.org: not an address"),
        (["--token-file", "nothing"], 2, "--token-file nothing: No such file"),
        (["--token-file", "short"], 2, "wanted one word of 16 to 4096 characters"),
        (["--tls-cert", "short"], 2, "--tls-cert and --tls-key go together"),
        (["--tls-cert", "short", "--tls-key", "short"], 2, "no certificate and its key"),
        (["--tls-cert", "nothing", "--tls-key", "nothing"], 2, "No such file"),
        (["--name", "a", "--name", "b"], 2, "2 --name for 1 --engine"),
        (["--name", "a/b"], 2, "'a/b' can't name a model"),
        (["--engine", "model.onnx"], 2, "two models are called model"),
        (["--engine", "nothing.onnx"], 2, "nothing.onnx: no such file"),
        (["--engine", "junk.onnx"], 1, "junk.onnx: "),
        (["--max-batch", "2000"], 2, "--max-batch 2000: "),
        (["--http-port", "PORT"], 2, "--http-port PORT: can't listen there on 127.0.0.1"),
        (["--grpc-port", "PORT"], 2, "--grpc-port PORT: can't listen there on 127.0.0.1"),
    ],
)
def test_a_server_that_cannot_be_says_so_on_one_line(
    run_lstn: RunLstn,
    tiny: Tiny,
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tiny.path.parent)
    Path("short").write_text("secret")
    Path("junk.onnx").write_text("junk")
    ports = ["--http-port", "0", "--grpc-port", "0"]
    ran = run_lstn(
        "serve", "--engine", "model.onnx", *ports, *(option.replace("PORT", str(port)) for option in options)
    )
    error, *hint = [line for line in ran.err.splitlines() if "grpc" not in line or line.startswith("error:")]
    assert (ran.code, ran.out) == (code, "")
    assert error.startswith("error: ")
    assert told.replace("PORT", str(port)) in error
    assert len(hint) <= 1
