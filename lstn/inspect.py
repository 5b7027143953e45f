"""What a file of lstn is: contract, inputs, outputs and what is inside, read with the standard library alone."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lstn.contract import METADATA_KEY, Contract
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.onnxfile import read_onnx
from lstn.plan import MAGIC, Tensor, read_header, read_sidecar
from lstn.terminal import file_size

_MAX_HEADER = 64 << 20
_MAX_DIMENSIONS, _MAX_ELEMENTS = 16, 1 << 48
_STATE_KEY = f"{METADATA_KEY}.state"
"""In the header of what a run is resumed from; lstn.train.state writes it."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""BatchNorm's, which are stored beside the parameters and not trained."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file says of itself.

    facts:     name -> value, in the order to show them
    operators: how often each occurs, for an ONNX model
    problem:   what is wrong with the file although it can be read this far, or None
    """

    kind: str
    contract: Contract | None
    facts: Mapping[str, str]
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    problem: LstnError | None = None


def inspect_file(path: Path) -> Inspection:
    """Look at a checkpoint, an ONNX model or a TensorRT plan, whatever it is called.

    Raises:
        UsageError: no such file.
        ArtifactError: it can't be read, is damaged, or is none of the three.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}", hint="name a file")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}") from error
    if head[:4] in MAGIC or path.suffix == ".plan":
        return _plan(path)
    if head[8:] == b"{" or path.suffix == ".safetensors":
        return _checkpoint(path)
    try:
        return _onnx(path)
    except ArtifactError as error:
        if path.suffix == ".onnx" or "contract" in error.message:
            raise
        hint = f"it describes {path.stem}; inspect that" if path.name.endswith(".plan.json") else ""
        raise ArtifactError(f"{path}: no checkpoint, no ONNX model and no TensorRT plan", hint=hint) from error


def _onnx(path: Path) -> Inspection:
    onnx = read_onnx(path)
    problem = None
    if onnx.contract is None:
        problem = ArtifactError(f"{path}: no contract, so it wasn't written by lstn", hint="make one with: lstn export")
    elif onnx.external_data:
        problem = ArtifactError(f"{path}: keeps weights in other files, so no engine of lstn opens it")
    facts = {"opset": str(onnx.opset), "written by": onnx.producer or "unknown", "size": file_size(path)}
    return Inspection("ONNX model", onnx.contract, facts, onnx.inputs, onnx.outputs, onnx.operators, problem)


def _plan(path: Path) -> Inspection:
    header = read_header(path)
    kind = f"{header.flavour.product} plan"
    facts = {"built by": f"{header.flavour.product} {header.version}", "size": file_size(path)}
    try:
        sidecar = read_sidecar(path)
    except ArtifactError as error:
        return Inspection(kind, None, facts, problem=error)
    low, optimum, high = sidecar.batch
    facts |= {
        "runs on": ", ".join(sidecar.targets),
        "batch": f"{low} to {high}, fastest at {optimum}",
        "precision": sidecar.precision,
        "SHA-256": sidecar.plan_sha256,
        "of ONNX file": sidecar.onnx_sha256,
    }
    return Inspection(kind, sidecar.contract, facts, sidecar.inputs, sidecar.outputs)


def _checkpoint(path: Path) -> Inspection:
    """safetensors: u64 little-endian length of a JSON header, the header, then the tensors."""
    tensors, metadata, missing = _safetensors_header(path)
    cut = ArtifactError(f"{path}: cut off, {missing} bytes are missing", hint="copy it again") if missing else None
    if _STATE_KEY in metadata:
        facts = {"tensors": str(len(tensors)), "size": file_size(path), "model": "checkpoint.safetensors beside it"}
        return Inspection("state of a training run", None, facts, problem=cut)
    contract = metadata.pop(METADATA_KEY, None)
    weights = [size for name, (_, size) in tensors.items() if not name.endswith(_STATISTICS)]
    facts = {
        "tensors": str(len(tensors)),
        "parameters": f"{sum(weights):,}",
        "dtypes": ", ".join(sorted({dtype for dtype, _ in tensors.values()})),
        "size": file_size(path),
        **{name.removeprefix(f"{METADATA_KEY}."): str(value)[:500] for name, value in metadata.items()},
    }
    problem = cut
    if contract is None:
        problem = ArtifactError(f"{path}: no contract, so it wasn't written by lstn", hint="make one with: lstn train")
    read = None if contract is None else Contract.from_json(str(contract), source=str(path))
    return Inspection("checkpoint", read, facts, problem=problem)


def _safetensors_header(path: Path) -> tuple[dict[str, tuple[str, int]], dict[str, object], int]:
    """Return name -> (dtype, number of elements), the metadata, and how many bytes are missing at the file's end."""
    damaged = ArtifactError(f"{path}: not a safetensors file, or its header is damaged")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise damaged
            header = json.loads(file.read(length))
        metadata = dict(header.pop("__metadata__", {}))
        tensors = {name: (str(each["dtype"]), _elements(each["shape"])) for name, each in header.items()}
        end = max((int(each["data_offsets"][1]) for each in header.values()), default=0)
        return tensors, metadata, max(0, 8 + length + end - path.stat().st_size)
    except (
        OSError,
        struct.error,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        AttributeError,
        IndexError,
        RecursionError,
    ) as error:
        raise damaged from error


def _elements(shape: list[int]) -> int:
    if len(shape) > _MAX_DIMENSIONS or not all(isinstance(size, int) and 0 <= size < _MAX_ELEMENTS for size in shape):
        raise ValueError(f"no shape: {shape!r:.80}")
    return math.prod(shape)
