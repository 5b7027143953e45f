"""Requests and answers in JSON, with tensors inside it or as bytes behind it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstn.runtime.serving.access import MAX_JSON_BYTES
from lstn.runtime.serving.refusal import Reason, Refusal
from lstn.runtime.serving.request import VERSION, Data, Input, Output, Request

HEADER_LENGTH = b"inference-header-content-length"

_MAX_TENSORS = 16
_MAX_NAME = 256
_MAX_SIZES = 8
_LARGEST = 1 << 40
_SIZE, _BINARY, _ALL_BINARY, _TIMEOUT = "binary_data_size", "binary_data", "binary_data_output", "timeout"


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer is to look: with which id, and which outputs as bytes; `binary` holds for those not named."""

    id: str | None
    binary: bool
    by_output: dict[str, bool]


def read_request(body: bytes, header_length: bytes | None) -> tuple[Request, Form]:
    """Read a request. header_length: the header's text, where JSON is followed by bytes.

    Raises:
        Refusal: it isn't one.
    """
    length = len(body) if header_length is None else _length(header_length, len(body))
    if length > MAX_JSON_BYTES:
        hint = "send images as binary data"
        raise Refusal(Reason.TOO_LARGE, f"the request has more than {MAX_JSON_BYTES >> 20} MiB of JSON; {hint}")
    try:
        content = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise Refusal(Reason.INVALID, "the request is not JSON") from error
    fields = _object(content, "the request")
    parameters = _object(fields.get("parameters", {}), "parameters")
    inputs = _inputs(_list(fields.get("inputs"), "inputs"), memoryview(body)[length:])
    outputs = [_object(output, "an output") for output in _list(fields.get("outputs", []), "outputs")]
    names = tuple(_text(output.get("name"), "an output's name") for output in outputs)
    binary = _flag(parameters, _ALL_BINARY, default=False)
    by_output = {
        name: _flag(_object(output.get("parameters", {}), "parameters"), _BINARY, default=binary)
        for name, output in zip(names, outputs, strict=True)
    }
    identity = fields.get("id")
    form = Form(None if identity is None else _text(identity, "id"), binary, by_output)
    return Request(inputs, names, timeout_of(parameters.get(_TIMEOUT))), form


def write_answer(model: str, form: Form, outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON if bytes stand behind it."""
    tensors, behind = [], []
    for output in outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if form.by_output.get(output.name, form.binary):
            behind.append(output.raw())
            tensor["parameters"] = {_SIZE: len(behind[-1])}
        else:
            tensor["data"] = output.listed()
        tensors.append(tensor)
    content = {"model_name": model, "model_version": VERSION, "outputs": tensors}
    if form.id is not None:
        content["id"] = form.id
    text = json.dumps(content).encode()
    return (b"".join([text, *behind]), len(text)) if behind else (text, None)


def timeout_of(microseconds: object) -> float | None:
    """Return the request parameter `timeout`, which is in µs as in Triton, in seconds; None for 0 and for none.

    Raises:
        Refusal: it is no whole number.
    """
    if microseconds is None:
        return None
    if type(microseconds) is not int or not 0 <= microseconds < 1 << 63:
        raise Refusal(Reason.INVALID, "timeout must be a whole number of microseconds")
    return microseconds / 1e6 or None


def _length(header_length: bytes, most: int) -> int:
    if not header_length.isdigit() or len(header_length) > 18 or int(header_length) > most:
        raise Refusal(Reason.INVALID, "Inference-Header-Content-Length is no length within the request")
    return int(header_length)


def _inputs(tensors: list[Any], behind: memoryview) -> tuple[Input, ...]:
    """Read the inputs; the bytes behind the JSON belong to those that name a size, in their order."""
    inputs, offset = [], 0
    for tensor in tensors:
        fields = _object(tensor, "an input")
        shape = tuple(_list(fields.get("shape"), "shape", most=_MAX_SIZES))
        if not all(type(size) is int and 0 <= size <= _LARGEST for size in shape):
            raise Refusal(Reason.INVALID, "a shape must be a list of whole numbers")
        size = _object(fields.get("parameters", {}), "parameters").get(_SIZE)
        data: Data
        if size is None:
            data = _list(fields.get("data"), "data", most=MAX_JSON_BYTES)
        else:
            if type(size) is not int or not 0 <= size <= len(behind) - offset or "data" in fields:
                raise Refusal(Reason.INVALID, f"{_SIZE} must say how many of the bytes behind the JSON are the input's")
            data = behind[offset : offset + size]
            offset += size
        name = _text(fields.get("name"), "an input's name")
        inputs.append(Input(name, _text(fields.get("datatype"), "a datatype"), shape, data))
    if offset != len(behind):
        raise Refusal(Reason.INVALID, f"the request has {len(behind) - offset} bytes that belong to no input")
    return tuple(inputs)


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refusal(Reason.INVALID, f"{what} must be a JSON object")
    return value


def _list(value: object, what: str, most: int = _MAX_TENSORS) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise Refusal(Reason.INVALID, f"{what} must be a list of at most {most}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise Refusal(Reason.INVALID, f"{what} must be text of at most {_MAX_NAME} characters")
    return value


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(Reason.INVALID, f"{name} must be true or false")
    return value
