"""An ONNX file on disk, read without any ONNX package: its contract, inputs, outputs and operators.

Two needs meet here. An edge device that holds only a runtime can still say what a file is. And a file is looked at
before ONNX Runtime opens it, because that reads whatever path a model names as external data: tried with 1.22,
absolute paths, `../` and links alike (1.31 keeps to the model's folder). A model of lstn is one file, so one with
external data is refused.

Field numbers are those of onnx.proto; the wire format is Protocol Buffers'.
"""

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lstn.contract import METADATA_KEY, Contract
from lstn.errors import ArtifactError
from lstn.formats.plan_file import Tensor
from lstn.formats.training_record import TRAINING_KEY, Training

PARTNER_KEY = "lstn-partner"

MAX_BYTES = (1 << 31) - 1
"""A protobuf message can't be larger, and a model is to stay one file."""

_MAX_DEPTH = 32
_MAX_FIELDS = 5_000_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_EXTERNAL = 1
_EMPTY = memoryview(b"")
_OWN_DOMAINS = ("", "ai.onnx")

_CHILDREN = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Where messages nest, as far as a TensorProto can hide in them."""

_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "bfloat16", 17: "float8e4m3fn",
}  # fmt: skip

_Value: TypeAlias = int | memoryview


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph: its name, its operator, and the names of the tensors that it reads and makes."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What an ONNX file says of itself.

    contract:  None for a file that lstn didn't write
    training:  what it was trained on; None if the file doesn't say
    inputs, outputs: of the graph; a shape holds -1 where a size is left open
    operators: how often each occurs, nested graphs included; `domain::name` outside ONNX's own domain
    nodes:     of the graph itself, in its order
    constants: dtype -> how many tensors of it the file holds: weights, scales, shapes
    external_data: True if a tensor lies in another file
    partner:   the SHA-256 of the ONNX file that this one belongs to; empty for most
    """

    contract: Contract | None
    training: Training | None
    producer: str
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: Mapping[str, int]
    nodes: tuple[Node, ...]
    constants: Mapping[str, int]
    external_data: bool
    partner: str = ""


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file up to its weights, which are skipped.

    Raises:
        ArtifactError: unreadable, larger than 2 GiB, no ONNX model, cut off, or with a damaged contract.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ArtifactError(f"{path}: {size} bytes, more than an ONNX file can hold")
        with path.open("rb") as file:
            # Mapped, so that looking at a large model doesn't read it; an empty file can't be.
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else _EMPTY
        return _ProtobufReader(str(path)).read(data)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # the reader's, or mmap's if the file was emptied meanwhile
        raise ArtifactError(
            f"{path}: not an ONNX model, or cut off ({error})", hint="make one with: lstn export"
        ) from error


def read_model(path: Path) -> tuple[Contract, OnnxFile]:
    """Read an ONNX file of lstn, as `read_onnx` does: one with a contract, and with all its weights inside.

    Raises:
        ArtifactError: what `read_onnx` refuses, no contract, or weights in other files.
    """
    onnx = read_onnx(path)
    if onnx.contract is None:
        raise ArtifactError(f"{path}: no contract, so it wasn't written by lstn", hint="make one with: lstn export")
    if onnx.external_data:
        raise ArtifactError(
            f"{path}: keeps weights in other files; lstn reads models of one file", hint="make one with: lstn export"
        )
    return onnx.contract, onnx


class _ProtobufReader:
    """Walks the messages of one file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._operators: Counter[str] = Counter()
        self._constants: Counter[str] = Counter()
        self._external_data = False
        self._fields_left = _MAX_FIELDS

    def read(self, data: memoryview) -> OnnxFile:
        """Read a ModelProto: producer 2, graph 7, opset_import 8, metadata_props 14.

        Raises:
            ValueError: it isn't one.
            ArtifactError: its contract is damaged.
        """
        graphs, pairs = self._all(data, 7), (dict(self._fields(pair)) for pair in self._all(data, 14))
        if not graphs:
            raise ValueError("it holds no graph")
        metadata = {_text(pair.get(1, _EMPTY)): _text(pair.get(2, _EMPTY)) for pair in pairs}
        contract, training = metadata.get(METADATA_KEY), metadata.get(TRAINING_KEY)
        self._walk(data, "ModelProto", 0, counted=False)
        return OnnxFile(
            contract=None if contract is None else Contract.from_json(contract, source=self._source),
            training=None if training is None else Training.from_json(training, source=self._source),
            producer="".join(_text(value) for value in self._all(data, 2)),
            opset=self._opset(data),
            inputs=self._tensors(graphs[-1], 11),
            outputs=self._tensors(graphs[-1], 12),
            operators=self._operators,
            nodes=tuple(self._node(node) for node in self._all(graphs[-1], 1)),
            constants=self._constants,
            external_data=self._external_data,
            partner=metadata.get(PARTNER_KEY, ""),
        )

    def _walk(self, data: memoryview, kind: str, depth: int, *, counted: bool) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("its graphs nest too deep")
        children = _CHILDREN[kind]
        name, domain = "", ""
        for number, value in self._fields(data):
            if number in children:
                # Nodes inside a function count where the function is called, as one.
                inside = counted or (kind == "ModelProto" and number == 7)
                self._walk(_message(value), children[number], depth + 1, counted=inside)
            elif kind == "NodeProto" and number == 4:
                name = _text(value)
            elif kind == "NodeProto" and number == 7:
                domain = _text(value)
            elif kind == "TensorProto" and number == 2:
                self._constants[_dtype(value)] += 1
            elif kind == "TensorProto" and (number == 13 or (number == 14 and value == _EXTERNAL)):
                self._external_data = True
        if kind == "NodeProto" and counted:
            self._operators[name if domain in _OWN_DOMAINS else f"{domain}::{name}"] += 1

    def _opset(self, data: memoryview) -> int:
        """OperatorSetIdProto: domain 1, version 2."""
        for entry in (dict(self._fields(opset)) for opset in self._all(data, 8)):
            version = entry.get(2, 0)
            if _text(entry.get(1, _EMPTY)) in _OWN_DOMAINS and isinstance(version, int):
                return version
        return 0

    def _node(self, data: memoryview) -> Node:
        """NodeProto: input 1, output 2, name 3, op_type 4."""
        inputs, outputs, name, operator = (tuple(map(_text, self._all(data, number))) for number in (1, 2, 3, 4))
        return Node("".join(name), "".join(operator), inputs, outputs)

    def _tensors(self, graph: memoryview, number: int) -> tuple[Tensor, ...]:
        """ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; Tensor: elem_type 1, shape 2; Dimension: 1."""
        tensors = []
        for info in self._all(graph, number):
            entry = dict(self._fields(info))
            kind = dict(self._fields(_message(entry.get(2, _EMPTY))))
            tensor = dict(self._fields(_message(kind.get(1, _EMPTY))))
            dims = self._all(_message(tensor.get(2, _EMPTY)), 1)
            sizes = [dict(self._fields(dim)).get(1, -1) for dim in dims]
            shape = tuple(size if isinstance(size, int) else -1 for size in sizes)
            dtype = tensor.get(1, 0)
            tensors.append(Tensor(_text(entry.get(1, _EMPTY)), _dtype(dtype), shape))
        return tuple(tensors)

    def _all(self, data: memoryview, wanted: int) -> list[memoryview]:
        return [_message(value) for number, value in self._fields(data) if number == wanted]

    def _fields(self, data: memoryview) -> Iterator[tuple[int, _Value]]:
        """Yield (field number, varint or payload) of one message."""
        position = 0
        while position < len(data):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"more than {_MAX_FIELDS} fields")
            tag, position = _varint(data, position)
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                value, position = _varint(data, position)
                yield number, value
                continue
            if wire == _BYTES:
                size, position = _varint(data, position)
            elif wire in _FIXED_SIZES:
                size = _FIXED_SIZES[wire]
            else:
                raise ValueError(f"no field is of wire type {wire}")
            if number == 0 or size > len(data) - position:
                raise ValueError("a field reaches beyond the end")
            yield number, data[position : position + size]
            position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("a number has no end")


def _message(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return value


def _text(value: _Value) -> str:
    return bytes(_message(value)).decode(errors="replace")


def _dtype(value: _Value) -> str:
    return _DTYPES.get(value, f"type {value}") if isinstance(value, int) else "no tensor"
