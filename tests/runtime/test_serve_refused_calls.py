"""What `lstn serve` refuses over gRPC, pictures among it: the client is told, and the server goes on."""

import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import SHAPE, ZEROS, Server, files_input, png
from tiny import SIDE
from tritonclient.grpc import service_pb2


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
