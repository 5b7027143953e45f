"""A request and an answer as the protocol means them, whichever way they came; and images out of tensors."""

import io
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import ImageError
from lstn.images import Pixels, decode
from lstn.runtime.engines.base import Prediction
from lstn.runtime.inference.answer import softmax
from lstn.runtime.serving.access import MAX_DECODED_PIXELS
from lstn.runtime.serving.refusal import Refusal, Why

IMAGE, LABEL, PROBABILITY = "image", "label", "probability"
VERSION = "1"
"""Of every model: the protocol has versions, and one file is one."""

_LENGTH = 4  # little-endian, before each element of a BYTES tensor

Data: TypeAlias = bytes | memoryview | list[Any]
"""Bytes in the protocol's binary form, or values as JSON or protobuf hold them, nested or flat."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input tensor as it was sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Data


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request.

    outputs:   the names that were asked for; empty for the usual ones
    timeout_s: how long the client waits, or None
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...] = ()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output tensor: float32, or labels."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: npt.NDArray[np.float32] | tuple[str, ...]

    def raw(self) -> bytes:
        """Return the binary form."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4", copy=False).tobytes()
        encoded = [label.encode("utf-8", "surrogatepass") for label in self.values]
        return b"".join(len(label).to_bytes(_LENGTH, "little") + label for label in encoded)

    def listed(self) -> list[float] | list[str]:
        """Return the values for JSON, flat."""
        return self.values.ravel().tolist() if isinstance(self.values, np.ndarray) else list(self.values)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor in a model's metadata; -1 is any number of images."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def inputs_of(contract: Contract) -> tuple[TensorSpec, ...]:
    """Return what a request may hold, exactly one of them."""
    return TensorSpec(PIXELS, "UINT8", (-1, *contract.image_hw, 3)), TensorSpec(IMAGE, "BYTES", (-1,))


def outputs_of(contract: Contract) -> tuple[TensorSpec, ...]:
    """Return what can be asked for."""
    theta = () if contract.loc is Loc.NONE else (TensorSpec(THETA, "FP32", (-1, 2, 3)),)
    return (
        TensorSpec(LOGITS, "FP32", (-1, len(contract.labels))),
        *theta,
        TensorSpec(LABEL, "BYTES", (-1,)),
        TensorSpec(PROBABILITY, "FP32", (-1,)),
    )


def wanted_outputs(request: Request, contract: Contract) -> tuple[TensorSpec, ...]:
    """Return what was asked for; logits and theta if nothing was.

    Raises:
        Refusal: the model has no such output, or it is named twice.
    """
    there = {spec.name: spec for spec in outputs_of(contract)}
    if not request.outputs:
        return tuple(there[name] for name in (LOGITS, THETA) if name in there)
    if len(set(request.outputs)) != len(request.outputs) or not set(request.outputs) <= set(there):
        raise Refusal(Why.INVALID, f"outputs must be some of {', '.join(there)}, each once")
    return tuple(there[name] for name in request.outputs)


def only_input(request: Request, contract: Contract) -> Input:
    """Return the one input of a request, its name, datatype and shape checked.

    Raises:
        Refusal: there are none or several, or it isn't one of `inputs_of`.
    """
    specs = {spec.name: spec for spec in inputs_of(contract)}
    if len(request.inputs) != 1 or request.inputs[0].name not in specs:
        raise Refusal(Why.INVALID, f"wanted one input, {' or '.join(specs)}")
    given = request.inputs[0]
    spec = specs[given.name]
    if given.datatype != spec.datatype or len(given.shape) != len(spec.shape) or given.shape[1:] != spec.shape[1:]:
        sizes = ", ".join("n" if size == -1 else str(size) for size in spec.shape)
        raise Refusal(Why.INVALID, f"input {spec.name} must be {spec.datatype} [{sizes}]")
    if given.shape[0] < 1:
        raise Refusal(Why.INVALID, f"input {spec.name} holds no image")
    return given


def pixels_from(given: Input) -> Pixels:
    """Return the images of a `pixels` input, (n, H, W, 3) uint8, without a copy if they came as bytes.

    Raises:
        Refusal: another number of values than the shape says, or values that aren't from 0 to 255.
    """
    count = math.prod(given.shape)
    if isinstance(given.data, list):
        try:
            values = np.array(given.data)
        except (ValueError, OverflowError, RecursionError):  # ragged, or too deep
            values = np.empty(0)
        if values.dtype.kind not in "iu" or values.size != count or values.min() < 0 or values.max() > 255:
            raise Refusal(Why.INVALID, f"input pixels must hold {count} whole numbers from 0 to 255")
        return values.astype(np.uint8).reshape(given.shape)
    if len(given.data) != count:
        raise Refusal(Why.INVALID, f"input pixels has {len(given.data)} bytes, its shape says {count}")
    return np.frombuffer(given.data, np.uint8).reshape(given.shape)


def files_from(given: Input) -> list[bytes]:
    """Return the encoded files of an `image` input.

    Raises:
        Refusal: another number of them than the shape says, or text in place of bytes.
    """
    files: list[bytes] = []
    if isinstance(given.data, list):
        if not all(isinstance(value, bytes) for value in given.data):
            raise Refusal(Why.INVALID, "input image must be sent as binary data; JSON can't hold it")
        files = given.data
    else:
        data, offset = memoryview(given.data), 0
        while offset < len(data) and len(files) <= given.shape[0]:
            start = offset + _LENGTH
            offset = start + int.from_bytes(data[offset:start], "little")
            if start > len(data) or offset > len(data):
                raise Refusal(Why.INVALID, "input image ends within an element")
            files.append(bytes(data[start:offset]))
    if len(files) != given.shape[0]:
        raise Refusal(Why.INVALID, f"input image doesn't hold the {given.shape[0]} files that its shape says")
    return files


def decode_file(data: bytes, image_hw: tuple[int, int], number: int) -> Pixels:
    """Decode one encoded file to (H, W, 3) uint8; `number` names it in errors, from 0.

    Raises:
        Refusal: it is no image, or a damaged one.
    """
    try:
        return decode(data, image_hw, name=f"image {number}")
    except ImageError as error:
        # In brackets stand Pillow's own words, which may hold anything.
        raise Refusal(Why.INVALID, error.message.partition(" (")[0]) from error


def check_sizes(files: list[bytes]) -> None:
    """Refuse more pixels than a request may hold, by the files' headers, before one is decoded.

    Raises:
        Refusal: they hold more.
    """
    total = 0
    for data in files:
        try:
            with Image.open(io.BytesIO(data)) as image:
                total += image.width * image.height
        except Image.DecompressionBombError:
            total = MAX_DECODED_PIXELS + 1
        except Exception:  # `decode` says what is wrong with it
            continue
        if total > MAX_DECODED_PIXELS:
            raise Refusal(
                Why.TOO_LARGE, f"the images have more than {MAX_DECODED_PIXELS // 10**6} million pixels together"
            )


def answer_from(prediction: Prediction, wanted: tuple[TensorSpec, ...], labels: tuple[str, ...]) -> list[Output]:
    """Return the outputs that were asked for.

    Raises:
        Refusal: the model answered with something that is no number.
    """
    if not np.isfinite(prediction.logits).all() or (
        prediction.theta is not None and not np.isfinite(prediction.theta).all()
    ):
        raise Refusal(Why.FAILED, "the model's answer is not a number")
    count = len(prediction.logits)
    probabilities = softmax(prediction.logits)
    values: dict[str, Any] = {LOGITS: prediction.logits, THETA: prediction.theta}
    values[LABEL] = tuple(labels[index] for index in prediction.logits.argmax(axis=1))
    values[PROBABILITY] = probabilities.max(axis=1)
    return [Output(spec.name, spec.datatype, (count, *spec.shape[1:]), values[spec.name]) for spec in wanted]
