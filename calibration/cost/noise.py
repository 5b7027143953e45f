"""Signal to quantization noise of every layer: where lower precision adds its error, and how it adds up.

One graph computes all of it: the float32 model; the lowered one on the same pixels; and the lowered one once more, in
which every layer is given what the float32 model computed before it, so that its noise is its own. The sums of squares
are taken in the graph, so that no activation leaves it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from lstn.calibration.cost.swap import needed, tensor_types, with_nodes
from lstn.contract import PIXELS
from lstn.errors import ArtifactError
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels

_MOVING = frozenset(
    {
        *("Cast", "Concat", "Dropout", "Expand", "Flatten", "Gather", "Identity"),
        *("Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""Operators that compute no number of their own, so that any noise in them came from elsewhere."""

_ALIKE = {18, 19}
"""Opsets of which the later means the same by whatever the earlier knows; float8 asks for 19."""

_LOWERED, _ALONE = "lowered::", "alone::"


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """Signal to noise at what one node computes, in dB: 10 log10 of the ratio of sums of squares, over some images.

    node:      as float32 calls it, such as `backbone.conv1/Conv`; or an output of the model
    output_db: with everything before it lowered too; infinite where no number differs, minus infinite where the lowered
        model computes what is not finite; None if the lowered model has no such node
    own_db:    with float32 before it: the noise of its own weights and arithmetic, and of rounding what it is given
    """

    node: str
    operator: str
    output_db: float | None
    own_db: float | None


@dataclass(frozen=True, slots=True)
class _Point:
    """A tensor that both models compute, by the names that they have for it; `lowered` is "" where it isn't there."""

    node: str
    operator: str
    tensor: str
    lowered: str


def measure_noise(
    reference: onnx.ModelProto, lowered: onnx.ModelProto, batches: Iterable[Pixels], *, name: str
) -> tuple[LayerNoise, ...]:
    """Compare every layer of two models of one contract on batches (N, H, W, 3) uint8 RGB, in order of computation.

    name: what errors call the lowered model

    Raises:
        ArtifactError: ONNX Runtime can't open the two as one graph.
        DeviceError: it can't run them.
    """
    points = _points(reference, lowered)
    graph = _joined(reference, lowered, [point for point in points if point.lowered], name)
    session = OnnxSession(graph.SerializeToString(), f"{name} next to float32")
    outputs = [entry.name for entry in graph.graph.output]
    sums = np.zeros(len(outputs))
    with np.errstate(invalid="ignore"):  # infinite + infinite, or minus it: said below
        for pixels in batches:
            sums += np.array(session.run({PIXELS: pixels}, outputs), dtype=np.float64)
    total = dict(zip(outputs, sums.tolist(), strict=True))
    return tuple(_noise_at(point, total) for point in points)


def _noise_at(point: _Point, total: Mapping[str, float]) -> LayerNoise:
    if not point.lowered:
        return LayerNoise(point.node, point.operator, None, None)
    signal = total[f"signal {point.node}"]
    output_db, own_db = (decibels(signal, total[f"{kind} {point.node}"]) for kind in ("noise", "own"))
    return LayerNoise(point.node, point.operator, output_db, own_db)


def decibels(signal: float, noise: float) -> float:
    """Sums of squares -> dB; infinite without noise, minus infinite without signal or where either isn't finite."""
    if noise == 0:
        return math.inf
    if not (math.isfinite(signal) and math.isfinite(noise)) or signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)


def _points(reference: onnx.ModelProto, lowered: onnx.ModelProto) -> list[_Point]:
    """Match by the names of nodes: what a converter inserts takes the names of tensors, and leaves those of nodes."""
    types, lowered_types = tensor_types(reference), tensor_types(lowered)
    by_node = {node.name: node for node in lowered.graph.node}
    by_tensor = {name for node in lowered.graph.node for name in node.output}
    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
    points = []
    for node in reference.graph.node:
        if node.op_type not in _MOVING and types.get(node.output[0]) == TensorProto.FLOAT:
            twin = by_node.get(node.name)
            tensor = twin.output[0] if twin is not None and twin.op_type == node.op_type else ""
            known = lowered_types.get(tensor, TensorProto.FLOAT) in floats
            points.append(_Point(node.name, node.op_type, node.output[0], tensor if known else ""))
        for entry in reference.graph.output:
            if entry.name in node.output:
                points.append(_Point(entry.name, "", entry.name, entry.name if entry.name in by_tensor else ""))
    return points


def _joined(reference: onnx.ModelProto, lowered: onnx.ModelProto, points: list[_Point], name: str) -> onnx.ModelProto:
    """Return the one graph, whose outputs are the sums of squares: `signal NODE`, `noise NODE` and `own NODE`."""
    weights = {weight.name for weight in lowered.graph.initializer}
    types = tensor_types(lowered)
    accumulated = {weight: f"{_LOWERED}{weight}" for weight in weights} | {PIXELS: PIXELS, "": ""}
    alone = dict(accumulated)
    casts = []
    for point in points:
        alone[point.lowered] = point.tensor
        dtype = types.get(point.lowered, TensorProto.FLOAT)
        if dtype != TensorProto.FLOAT:
            alone[point.lowered] = f"{point.tensor} as {dtype}"
            casts.append(helper.make_node("Cast", [point.tensor], [alone[point.lowered]], to=dtype))
    nodes = [
        *reference.graph.node,
        *casts,
        *(_renamed(node, accumulated, _LOWERED) for node in lowered.graph.node),
        *(_renamed(node, alone, _ALONE) for node in lowered.graph.node),
    ]
    sums = [node for point in points for node in _sums_of_squares(point)]
    outputs = [node.output[0] for node in sums if node.op_type == "ReduceSumSquare"]
    both = onnx.ModelProto()
    both.CopyFrom(reference)
    for weight in lowered.graph.initializer:
        both.graph.initializer.add().CopyFrom(weight)
        both.graph.initializer[-1].name = f"{_LOWERED}{weight.name}"
    _merge_opsets(both, lowered, name)
    infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, []) for output in outputs]
    return with_nodes(both, needed([*nodes, *sums], set(outputs)), infos)


def _renamed(node: onnx.NodeProto, inputs: Mapping[str, str], prefix: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{prefix}{node.name}"
    copy.input[:] = [inputs.get(name, f"{prefix}{name}") for name in node.input]
    copy.output[:] = [f"{prefix}{name}" if name else "" for name in node.output]
    return copy


def _sums_of_squares(point: _Point) -> Iterable[onnx.NodeProto]:
    yield helper.make_node("ReduceSumSquare", [point.tensor], [f"signal {point.node}"], keepdims=0)
    for kind, prefix in (("noise", _LOWERED), ("own", _ALONE)):
        found, wide, away = f"{prefix}{point.lowered}", f"{kind} {point.node} wide", f"{kind} {point.node} away"
        yield helper.make_node("Cast", [found], [wide], to=TensorProto.FLOAT)
        yield helper.make_node("Sub", [wide, point.tensor], [away])
        yield helper.make_node("ReduceSumSquare", [away], [f"{kind} {point.node}"], keepdims=0)


def _merge_opsets(both: onnx.ModelProto, lowered: onnx.ModelProto, name: str) -> None:
    known = {entry.domain: entry for entry in both.opset_import}
    for entry in lowered.opset_import:
        if entry.domain not in known:
            both.opset_import.add().CopyFrom(entry)
            continue
        ours = known[entry.domain]
        if entry.version != ours.version and {entry.version, ours.version} != _ALIKE:
            raise ArtifactError(
                f"{name}: written in opset {entry.version}, and float32 in {ours.version}",
                hint="make both with the same version of lstn",
            )
        ours.version = max(ours.version, entry.version)
    both.ir_version = max(both.ir_version, lowered.ir_version)
