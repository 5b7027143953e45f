"""Inspection of a file: contract, inputs, outputs and content, read with the standard library alone."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from lstn.contract import METADATA_KEY, Contract
from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import what_is
from lstn.formats.described import check_tensors
from lstn.formats.onnx_file import read_onnx
from lstn.formats.openvino_file import bin_path, check_weights, read_xml
from lstn.formats.plan_file import MAGIC, Sidecar, Tensor, read_header, read_sidecar
from lstn.formats.training_record import TRAINING_KEY, Training
from lstn.report.wording import counted
from lstn.terminal import file_size
from lstn.untrusted.checked_json import Natural, checked, parsed

_MAX_HEADER = 64 << 20
_MAX_DIMENSIONS, _MAX_ELEMENTS = 16, 1 << 48
_STATE_KEY = f"{METADATA_KEY}.state"
"""In the header of what a run is resumed from; lstn.train.runs.run_state writes it."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""BatchNorm's, which are stored beside the parameters and not trained."""


@dataclass(frozen=True, slots=True)
class _StoredTensor:
    """A tensor in a safetensors header."""

    dtype: str
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, lt=_MAX_ELEMENTS)], ...], Meta(max_length=_MAX_DIMENSIONS)]
    data_offsets: tuple[Natural, Natural]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file says of itself.

    facts:     name -> value, in the order to show them
    training:  what it was trained on; None if the file doesn't say
    operators: how often each occurs, for an ONNX or OpenVINO model
    problem:   what is wrong with the file although it can be read this far, or None
    """

    kind: str
    contract: Contract | None
    facts: Mapping[str, str]
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    problem: LstnError | None = None
    training: Training | None = None


def inspect_file(path: Path) -> Inspection:
    """Look at a checkpoint, an ONNX model, an OpenVINO model or a TensorRT plan, whatever it is called.

    Raises:
        UsageError: no such file.
        ArtifactError: it can't be read, is damaged, or is none of the four.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {what_is(path)}", hint="name a file")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}") from error
    if head[:4] in MAGIC or path.suffix == ".plan":
        return _plan(path)
    if head[8:] == b"{" or path.suffix == ".safetensors":
        return _checkpoint(path)
    if head[:5] == b"<?xml" or path.suffix == ".xml":
        return _openvino(path)
    try:
        return _onnx(path)
    except ArtifactError as error:
        if path.suffix == ".onnx" or "contract" in error.message:
            raise
        raise ArtifactError(
            f"{path}: no checkpoint, ONNX model, OpenVINO model or TensorRT plan", hint=_part_of(path)
        ) from error


def training_of(path: Path) -> Training | None:
    """Return what the model in a file was trained on; None if the file doesn't say.

    Raises:
        UsageError, ArtifactError: what `inspect_file` raises, or finds to be wrong with the file.
    """
    found = inspect_file(path)
    if found.problem is not None:
        raise found.problem
    return found.training


def _told(training: Training | None) -> dict[str, str]:
    return {} if training is None else {"training": training.to_json()[:500]}


def _part_of(path: Path) -> str:
    """Return the hint for a file that stands beside what it belongs to."""
    if path.name.endswith(".plan.json"):
        return f"it describes {path.stem}; inspect that"
    xml = path.with_suffix(".xml")
    return f"it may hold the weights of {xml.name}; inspect that" if path.suffix == ".bin" and xml.is_file() else ""


def _onnx(path: Path) -> Inspection:
    onnx = read_onnx(path)
    problem = None
    if onnx.contract is None:
        problem = ArtifactError(f"{path}: no contract, so it wasn't written by lstn", hint="make one with: lstn export")
    elif onnx.external_data:
        problem = ArtifactError(f"{path}: keeps weights in other files, so no engine of lstn opens it")
    else:
        problem = _mismatch(path, onnx.contract, onnx.inputs, onnx.outputs)
    facts = {"opset": str(onnx.opset), "written by": onnx.producer or "unknown", "size": file_size(path)}
    constants = sorted(onnx.constants.items(), key=lambda entry: -entry[1])
    facts["constants"] = ", ".join(f"{count} {dtype}" for dtype, count in constants) or "none"
    facts |= _told(onnx.training)
    tensors = onnx.inputs, onnx.outputs
    return Inspection("ONNX model", onnx.contract, facts, *tensors, onnx.operators, problem, onnx.training)


def _mismatch(
    path: Path, contract: Contract, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]
) -> ArtifactError | None:
    try:
        check_tensors(path, contract, inputs, outputs)
    except ArtifactError as error:
        return error
    return None


def _openvino(path: Path) -> Inspection:
    kind, file, weights = "OpenVINO model", read_xml(path), bin_path(path)
    facts = {"size": file_size(path), "weights": file_size(weights) if weights.is_file() else "missing"}
    if file.record is not None:
        facts = {"built by": f"OpenVINO {file.record.version}", "precision": file.record.precision} | facts
        facts |= {"SHA-256 of weights": file.record.bin_sha256, "of ONNX file": file.record.onnx_sha256}
        facts |= _told(file.record.training)
    contract, training = (None, None) if file.record is None else (file.record.contract, file.record.training)
    problem = None
    try:
        check_weights(path, file)
    except ArtifactError as error:
        problem = error
    if problem is None and contract is not None:
        problem = _mismatch(path, contract, file.inputs, file.outputs)
    return Inspection(kind, contract, facts, file.inputs, file.outputs, file.operators, problem, training)


def _plan(path: Path) -> Inspection:
    header = read_header(path)
    kind = f"{header.flavour.product} plan"
    facts = {"built by": f"{header.flavour.product} {header.version}", "size": file_size(path)}
    try:
        sidecar = read_sidecar(path)
    except ArtifactError as error:
        return Inspection(kind, None, facts, problem=error)
    facts |= {
        "runs on": _gpus(sidecar),
        "batch": sidecar.batches,
        "precision": sidecar.precision + ", with float32 multiplied in TF32" * sidecar.tf32,
        "SHA-256": sidecar.plan_sha256,
        "of ONNX file": sidecar.onnx_sha256,
        "compared with it": f"on {sidecar.compared_images} images" if sidecar.compared_images else "no",
    }
    if sidecar.version_compatible:
        facts["built by"] += " and runs with newer ones"
    if sidecar.dla_core is not None:
        facts["DLA core"] = str(sidecar.dla_core)
    facts |= _told(sidecar.training)
    return Inspection(kind, sidecar.contract, facts, sidecar.inputs, sidecar.outputs, training=sidecar.training)


def _gpus(sidecar: Sidecar) -> str:
    gpus = ", ".join(sidecar.targets) + (f" ({sidecar.gpu})" if sidecar.gpu else "")
    return f"Ampere and newer GPUs; built on {gpus}" if sidecar.hardware_compatible else gpus


def _checkpoint(path: Path) -> Inspection:
    """safetensors: u64 little-endian length of a JSON header, the header, then the tensors."""
    tensors, metadata, missing = _safetensors_header(path)
    cut = (
        ArtifactError(f"{path}: cut off, {counted(missing, 'byte', 'are')} missing", hint="copy it again")
        if missing
        else None
    )
    if _STATE_KEY in metadata:
        facts = {"tensors": str(len(tensors)), "size": file_size(path), "model": "checkpoint.safetensors next to it"}
        return Inspection("state of a training run", None, facts, problem=cut)
    contract = metadata.pop(METADATA_KEY, None)
    weights = [size for name, (_, size) in tensors.items() if not name.endswith(_STATISTICS)]
    facts = {
        "tensors": str(len(tensors)),
        "parameters": f"{sum(weights):,}",
        "dtypes": ", ".join(sorted({dtype for dtype, _ in tensors.values()})),
        "size": file_size(path),
        **{name.removeprefix(f"{METADATA_KEY}."): value[:500] for name, value in metadata.items()},
    }
    problem = cut
    if contract is None:
        problem = ArtifactError(f"{path}: no contract, so it wasn't written by lstn", hint="make one with: lstn train")
    read = None if contract is None else Contract.from_json(contract, source=str(path))
    training = None if TRAINING_KEY not in metadata else Training.from_json(metadata[TRAINING_KEY], source=str(path))
    return Inspection("checkpoint", read, facts, problem=problem, training=training)


def _safetensors_header(path: Path) -> tuple[dict[str, tuple[str, int]], dict[str, str], int]:
    """Return name -> (dtype, number of elements), the metadata, and how many bytes are missing at the file's end."""
    damaged = ArtifactError(f"{path}: not a safetensors file, or its header is damaged")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise damaged
            header = checked(parsed(file.read(length)), dict[str, Any])
        metadata = checked(header.pop("__metadata__", {}), dict[str, str])
        tensors = checked(header, dict[str, _StoredTensor])
        end = max((each.data_offsets[1] for each in tensors.values()), default=0)
        sizes = {name: (each.dtype, math.prod(each.shape)) for name, each in tensors.items()}
        return sizes, metadata, max(0, 8 + length + end - path.stat().st_size)
    except (OSError, struct.error, ValueError) as error:
        raise damaged from error
