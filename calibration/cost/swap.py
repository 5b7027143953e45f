"""A model of lstn with theta as an input: the backbone behind any warp, so that warp and backbone are judged apart."""

from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper

from lstn.contract import LOGITS, THETA
from lstn.errors import ArtifactError

TRANSPARENT = frozenset({"Cast", "Identity", "QuantizeLinear", "DequantizeLinear"})
"""Operators that lower precision inserts: a tensor stands for the same thing before and behind one."""


def with_theta_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with inputs pixels and theta (N, …) float32, output logits, and without its localizer.

    Fed with the theta that `model` itself computes, it computes the same logits. Whatever `model` rounds theta to on
    its way out happens before the input, and is part of the theta that is fed.

    Raises:
        ArtifactError: it has no theta, or nothing in it depends on theta.
    """
    output = next((entry for entry in model.graph.output if entry.name == THETA), None)
    if output is None:
        raise ArtifactError("the model computes no theta, so its warp cannot be separated from its backbone")
    types = tensor_types(model)
    same = _same_as_theta(model.graph)
    nodes, casts = [], dict[int, str]()
    for node in model.graph.node:
        if not same.intersection(node.input):
            nodes.append(node)
            continue
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name in same:
                dtype = types.get(name, TensorProto.FLOAT)
                changed.input[index] = (
                    THETA if dtype == TensorProto.FLOAT else casts.setdefault(dtype, f"theta/{dtype}")
                )
        nodes.append(changed)
    given = [helper.make_node("Cast", [THETA], [name], name, to=dtype) for dtype, name in casts.items()]
    logits = [entry for entry in model.graph.output if entry.name == LOGITS]
    swapped = with_nodes(model, needed([*given, *nodes], {LOGITS}, given={THETA}), logits)
    if not any(THETA in node.input for node in swapped.graph.node):
        raise ArtifactError("nothing in the model depends on theta", hint="export it again with: lstn export")
    swapped.graph.input.append(output)
    return swapped


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type (`onnx.TensorProto.DataType`) of every tensor of a graph, as far as ONNX infers it."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {entry.name: entry.data_type for entry in graph.initializer}
    for entry in (*graph.value_info, *graph.input, *graph.output):
        types[entry.name] = entry.type.tensor_type.elem_type
    return types


def needed(nodes: Iterable[onnx.NodeProto], wanted: set[str], given: set[str] | None = None) -> list[onnx.NodeProto]:
    """Return, in their order, the nodes that the tensors `wanted` are computed from; those that are `given` are not.

    nodes: in order of computation
    """
    open_, found = set(wanted), list[onnx.NodeProto]()
    for node in reversed(list(nodes)):
        if open_.intersection(node.output) and not (given or set()).intersection(node.output):
            found.append(node)
            open_.update(node.input)
    return found[::-1]


def with_nodes(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Return `model` made of these nodes in place of its own, with the weights that they use and no others."""
    result = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    result.opset_import.extend(model.opset_import)
    result.functions.extend(model.functions)
    result.metadata_props.extend(model.metadata_props)
    graph = result.graph
    graph.name = model.graph.name
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(weight for weight in model.graph.initializer if weight.name in used)
    graph.input.extend(model.graph.input)
    graph.output.extend(outputs)
    return result


def _same_as_theta(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that hold theta, in any type; nothing needs those between them once theta is given."""
    producers = {name: node for node in graph.node for name in node.output}
    same, tensor = {THETA}, THETA
    while (node := producers.get(tensor)) is not None and node.op_type in TRANSPARENT:
        tensor = node.input[0]
        same.add(tensor)
    for node in graph.node:  # a converter may give each reader of a quantized tensor a DequantizeLinear of its own
        if node.op_type == "DequantizeLinear" and node.input[0] in same:
            same.update(node.output)
    return same
