"""float32 -> float16 or bfloat16, where a model can bear it.

The library that converts is given the lowered nodes alone, as a model of their own, and so can't touch the rest. Left
to tell kept nodes from others itself, it rounded theta and the grid to float16 on their way between two kept nodes.
"""

import warnings
from collections.abc import Iterable
from graphlib import TopologicalSorter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxconverter_common import float16

from lstn.calibration.kept_layers import lowered_nodes
from lstn.errors import LstnError
from lstn.formats.node_names import layer_of
from lstn.precision import Precision

_LARGEST = float(np.finfo(np.float16).max)


def half_model(model: onnx.ModelProto, precision: Precision, kept: frozenset[str]) -> onnx.ModelProto:
    """Return `model` with the layers outside of `kept` in float16 or bfloat16, and casts where they meet float32.

    Inputs and outputs keep their types. ONNX allows bfloat16 in convolutions from opset 22 on only, where GridSample is
    spelled as TensorRT misreads it; TensorRT's parser and OpenVINO's take it at our opset.

    Raises:
        LstnError: a weight is too large for float16.
    """
    names = frozenset(lowered_nodes(model, kept))
    typed = onnx.shape_inference.infer_shapes(model)
    lowered = [node for node in typed.graph.node if node.name in names]
    others = [node for node in typed.graph.node if node.name not in names]
    if precision is Precision.FP16:
        _refuse_overflow(model, lowered)
    _share_no_weights(typed.graph, lowered, others)
    dtype = TensorProto.FLOAT16 if precision is Precision.FP16 else TensorProto.BFLOAT16
    casts = _cast_where_they_meet(typed.graph, lowered, others, dtype)
    half = _converted(typed, lowered)
    weights = {weight.name: weight for weight in half.initializer}
    if precision is Precision.BF16:
        weights = _in_bfloat16(weights, typed.graph)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(_in_order([*others, *half.node, *casts]))
    result.graph.initializer.extend([*_used(typed.graph.initializer, others), *weights.values()])
    return result


def _refuse_overflow(model: onnx.ModelProto, lowered: list[onnx.NodeProto]) -> None:
    """float16 ends at 65504, and a folded BatchNorm can pass it."""
    users = {name: node.name for node in lowered for name in node.input}
    for weight in model.graph.initializer:
        if weight.name in users and weight.data_type == TensorProto.FLOAT:
            largest = float(np.abs(numpy_helper.to_array(weight)).max(initial=0.0))
            if largest > _LARGEST:
                layer = layer_of(users[weight.name])
                raise LstnError(
                    f"a constant of {layer} is {largest:.3g}, and float16 ends at {_LARGEST:.0f}",
                    hint=f"use --precision bf16, or --keep {layer}",
                )


def _share_no_weights(graph: onnx.GraphProto, lowered: list[onnx.NodeProto], others: list[onnx.NodeProto]) -> None:
    """Give the lowered nodes copies of the constants that others use too: the exporter merges equal ones."""
    twins = {weight.name: f"{weight.name}_lowered" for weight in _used(_used(graph.initializer, lowered), others)}
    for weight in [weight for weight in graph.initializer if weight.name in twins]:
        copy = graph.initializer.add()
        copy.CopyFrom(weight)
        copy.name = twins[weight.name]
    _rename_inputs(lowered, twins)


def _cast_where_they_meet(
    graph: onnx.GraphProto, lowered: list[onnx.NodeProto], others: list[onnx.NodeProto], dtype: int
) -> list[onnx.NodeProto]:
    """Cut float32 tensors that go from one kind of node to the other, and return the casts that join them again."""
    floats = {
        entry.name
        for entry in (*graph.value_info, *graph.input, *graph.output)
        if entry.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    of_lowered, of_others = _outputs(lowered), _outputs(others)
    inward = sorted(floats & of_others & _inputs(lowered))
    outward = sorted(floats & of_lowered & _inputs(others))
    answers = sorted(floats & of_lowered & {entry.name for entry in graph.output})
    _rename_inputs(lowered, {name: f"{name}_to_half" for name in inward})
    _rename_inputs(others, {name: f"{name}_to_float32" for name in outward})
    casts = [_cast(name, f"{name}_to_half", dtype) for name in inward]
    casts += [_cast(name, f"{name}_to_float32", TensorProto.FLOAT) for name in outward]
    for answer in answers:  # an output's name is the contract's, so the tensor before it is called as its node
        node = next(node for node in lowered if answer in node.output)
        _rename_inputs(lowered, {answer: node.name})
        node.output[:] = [node.name if name == answer else name for name in node.output]
        casts.append(helper.make_node("Cast", [node.name], [answer], f"{node.name}_to_float32", to=TensorProto.FLOAT))
    return casts


def _converted(model: onnx.ModelProto, lowered: list[onnx.NodeProto]) -> onnx.GraphProto:
    """Return the lowered nodes and their constants, all of whose floats are float16."""
    inner = onnx.ModelProto(ir_version=model.ir_version)
    inner.opset_import.extend(model.opset_import)
    inner.graph.name = model.graph.name
    inner.graph.node.extend(lowered)
    inner.graph.initializer.extend(_used(model.graph.initializer, lowered))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is beyond float16: refused before, or put right after for bfloat16
        converted: onnx.ModelProto = float16.convert_float_to_float16(
            inner,
            min_positive_val=0.0,  # the defaults cut weights off at 1e-7 and 1e4; float16 rounds, and reaches further
            max_finite_val=_LARGEST,
            disable_shape_infer=True,
            op_block_list=[],
            check_fp16_ready=False,
        )
    return converted.graph


def _in_bfloat16(weights: dict[str, TensorProto], exact: onnx.GraphProto) -> dict[str, TensorProto]:
    """Return what was float16 as bfloat16, rounded from float32 again: float16 has lost its range."""
    originals = {weight.name: weight for weight in exact.initializer}
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    return {
        name: numpy_helper.from_array(numpy_helper.to_array(originals[name]).astype(dtype), name)
        if weight.data_type == TensorProto.FLOAT16
        else weight
        for name, weight in weights.items()
    }


def _in_order(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Sort by what needs what, as ONNX wants it."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    needs = {index: {makers[name] for name in node.input if name in makers} for index, node in enumerate(nodes)}
    return [nodes[index] for index in TopologicalSorter(needs).static_order()]


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], target, to=dtype)


def _inputs(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.input}


def _outputs(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output}


def _used(weights: Iterable[TensorProto], nodes: Iterable[onnx.NodeProto]) -> list[TensorProto]:
    names = _inputs(nodes)
    return [weight for weight in weights if weight.name in names]


def _rename_inputs(nodes: Iterable[onnx.NodeProto], names: dict[str, str]) -> None:
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
