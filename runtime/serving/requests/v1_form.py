"""KServe's older protocol, v1: a list of instances in JSON, and as many predictions back."""

import json
from collections.abc import Sequence
from typing import Any

from lstn.contract import PIXELS
from lstn.runtime.serving.requests.json_form import as_list, as_object, parsed_request
from lstn.runtime.serving.requests.parameters import check_names
from lstn.runtime.serving.requests.refusal import Reason, Refusal
from lstn.runtime.serving.requests.request import IMAGE, Input, Output, Request

_MAX_INSTANCES, _MAX_SIZES = 1 << 20, 8
_B64 = "b64"
_FILE_NAMES = (IMAGE, "image_bytes", "data")
"""What examples of KServe, TensorFlow Serving and TorchServe call the file of an instance."""


def read_instances(body: bytes) -> Request:
    """Read `{"instances": [...]}`: files in base64, or lists of pixels.

    An instance is TEXT, `{"b64": TEXT}`, either of them under one of `_FILE_NAMES`, or nested lists of H x W x 3 whole
    numbers.

    Raises:
        Refusal: it is something else.
    """
    fields = parsed_request(body)
    check_names(dict.fromkeys(fields), ("instances",), "a request")
    instances = as_list(fields.get("instances"), "instances", most=_MAX_INSTANCES)
    if not instances:
        raise Refusal(Reason.INVALID, "instances is empty")
    if all(isinstance(instance, list) for instance in instances):
        return Request((Input(PIXELS, "UINT8", _shape_of(instances), instances),), summary=True)
    files = [_file_of(instance) for instance in instances]
    return Request((Input(IMAGE, "BYTES", (len(files),), files),), summary=True)


def write_predictions(outputs: Sequence[Output]) -> bytes:
    """Return `{"predictions": [...]}`, one object an instance."""
    names = [output.name for output in outputs]
    rows = zip(*(output.rows() for output in outputs), strict=True)
    return json.dumps({"predictions": [dict(zip(names, row, strict=True)) for row in rows]}).encode()


def _file_of(instance: object) -> str:
    if isinstance(instance, str):
        return instance
    fields = as_object(instance, "an instance")
    if len(fields) == 1:
        ((name, value),) = fields.items()
        if name in _FILE_NAMES and isinstance(value, dict) and set(value) == {_B64}:
            return _file_of(value)
        if name in (_B64, *_FILE_NAMES) and isinstance(value, str):
            return value
    raise Refusal(Reason.INVALID, 'an instance must be {"b64": TEXT}, an image file in base64, or a list of pixels')


def _shape_of(nested: list[Any]) -> tuple[int, ...]:
    """The shape of N x H x W x C values as their first elements have it; the values are counted later."""
    shape: list[int] = []
    value: object = nested
    while isinstance(value, list) and len(shape) < _MAX_SIZES:
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)
