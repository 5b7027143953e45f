"""Requests and answers of the protocol in JSON, with tensors inside it or as bytes behind it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lstn.report.wording import counted
from lstn.runtime.serving.requests.limits import MAX_JSON_BYTES
from lstn.runtime.serving.requests.parameters import (
    ALL_BINARY,
    BINARY,
    BINARY_SIZE,
    CLASSIFICATION,
    TIMEOUT,
    check_names,
    classes_of,
    flag_of,
    timeout_of,
)
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import VERSION, Data, Input, Output, Request, Wanted
from lstn.untrusted.checked_json import parsed as parsed_json

HEADER_LENGTH = b"inference-header-content-length"

_MAX_TENSORS = 16
_MAX_NAME = 256
_MAX_SIZES = 8
_LARGEST = 1 << 40


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
    fields = parsed_request(body[:length])
    parameters = _parameters(fields, "a request", (TIMEOUT, ALL_BINARY))
    inputs = _inputs(as_list(fields.get("inputs"), "inputs"), memoryview(body)[length:])
    binary = flag_of(parameters, ALL_BINARY, default=False)
    outputs = [_output(output, binary) for output in as_list(_given(fields, "outputs", []), "outputs")]
    identity = fields.get("id")
    form = Form(
        None if identity is None else as_text(identity, "id"),
        binary,
        {wanted.name: binary for wanted, binary in outputs},
    )
    return Request(inputs, tuple(wanted for wanted, _ in outputs), timeout_of(parameters)), form


def write_answer(model: str, form: Form, outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON if bytes stand behind it."""
    tensors, behind = [], []
    for output in outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if form.by_output.get(output.name, form.binary):
            behind.append(output.raw())
            tensor["parameters"] = {BINARY_SIZE: len(behind[-1])}
        else:
            tensor["data"] = output.listed()
        tensors.append(tensor)
    content = {"model_name": model, "model_version": VERSION, "outputs": tensors}
    if form.id is not None:
        content["id"] = form.id
    text = json.dumps(content).encode()
    return (b"".join([text, *behind]), len(text)) if behind else (text, None)


def _length(header_length: bytes, most: int) -> int:
    if not header_length.isdigit() or len(header_length) > 18 or int(header_length) > most:
        raise Refusal(Reason.INVALID, "Inference-Header-Content-Length is not a length within the request")
    return int(header_length)


def _inputs(tensors: list[Any], behind: memoryview) -> tuple[Input, ...]:
    """Read the inputs; the bytes behind the JSON belong to those that name a size, in their order."""
    inputs, offset = [], 0
    for tensor in tensors:
        fields = as_object(tensor, "an input")
        shape = tuple(as_list(fields.get("shape"), "shape", most=_MAX_SIZES))
        if not all(type(size) is int and 0 <= size <= _LARGEST for size in shape):
            raise Refusal(Reason.INVALID, "a shape must be a list of whole numbers")
        size = _parameters(fields, "an input", (BINARY_SIZE,)).get(BINARY_SIZE)
        data: Data
        if size is None:
            data = as_list(fields.get("data"), "data", most=MAX_JSON_BYTES)
        else:
            if type(size) is not int or not 0 <= size <= len(behind) - offset or "data" in fields:
                raise Refusal(
                    Reason.INVALID, f"{BINARY_SIZE} must say how many of the bytes behind the JSON are the input's"
                )
            data = behind[offset : offset + size]
            offset += size
        name = as_text(fields.get("name"), "an input's name")
        inputs.append(Input(name, as_text(fields.get("datatype"), "a datatype"), shape, data))
    if offset != len(behind):
        raise Refusal(
            Reason.INVALID, f"the request has {counted(len(behind) - offset, 'byte')} more than its inputs take"
        )
    return tuple(inputs)


def _output(value: object, binary: bool) -> tuple[Wanted, bool]:
    """Read an output that was asked for, and whether it is wanted as bytes."""
    fields = as_object(value, "an output")
    name = as_text(fields.get("name"), "an output's name")
    parameters = _parameters(fields, "an output", (BINARY, CLASSIFICATION))
    return Wanted(name, classes_of(parameters)), flag_of(parameters, BINARY, default=binary)


def _parameters(fields: dict[str, Any], of: str, known: tuple[str, ...]) -> dict[str, Any]:
    parameters = as_object(_given(fields, "parameters", {}), "parameters")
    check_names(parameters, known, of)
    return parameters


def _given(fields: dict[str, Any], name: str, default: object) -> object:
    """Many clients write null where nothing is given."""
    value = fields.get(name)
    return default if value is None else value


def parsed_request(text: bytes) -> dict[str, Any]:
    """Return the JSON object that is a request's text.

    Raises:
        Refusal: it isn't one, or is too long.
    """
    if len(text) > MAX_JSON_BYTES:
        hint = "send images as binary data"
        raise Refusal(Reason.TOO_LARGE, f"the request has more than {MAX_JSON_BYTES >> 20} MiB of JSON; {hint}")
    if not text.strip():
        raise Refusal(Reason.INVALID, "the request is empty; expected JSON or an image file")
    try:
        return as_object(parsed_json(text), "the request")
    except ValueError as error:
        raise Refusal(Reason.INVALID, "the request is not JSON") from error


def as_object(value: object, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        Refusal: it is something else; `what` names it.
    """
    if not isinstance(value, dict):
        raise Refusal(Reason.INVALID, f"{what} must be a JSON object")
    return value


def as_list(value: object, what: str, most: int = _MAX_TENSORS) -> list[Any]:
    """Return a JSON list of at most `most`.

    Raises:
        Refusal: it is something else; `what` names it.
    """
    if not isinstance(value, list) or len(value) > most:
        raise Refusal(Reason.INVALID, f"{what} must be a list of at most {most}")
    return value


def as_text(value: object, what: str) -> str:
    """Return JSON text.

    Raises:
        Refusal: it is something else; `what` names it.
    """
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise Refusal(Reason.INVALID, f"{what} must be text of at most {_MAX_NAME} characters")
    return value


def as_flag(value: object, what: str) -> bool:
    """Return JSON's true or false.

    Raises:
        Refusal: it is something else; `what` names it.
    """
    if not isinstance(value, bool):
        raise Refusal(Reason.INVALID, f"{what} must be true or false")
    return value
