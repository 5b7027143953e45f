"""Sums of residual blocks between Q/DQ pairs, as TensorRT fuses them."""

from collections import defaultdict

import onnx

from lstn.calibration.kept_layers import LAYERS


def join_sums(model: onnx.ModelProto) -> None:
    """Take away the pairs between a layer and the sum that nobody else reads it for.

    TensorRT computes a convolution and the sum behind it in one kernel, which reads the other input, of the skip
    connection, in 8 bits if that is quantized. A pair between the two keeps them apart (NVIDIA, TensorRT documentation,
    "Working with quantized types", Q/DQ placement: quantize the residual input in skip connections). Where both inputs
    come from layers, the later one is joined.
    """
    nodes = model.graph.node
    makers = {name: node for node in nodes for name in node.output}
    places = {node.name: place for place, node in enumerate(nodes)}
    readers: dict[str, int] = defaultdict(int)
    for name in (name for node in nodes for name in node.input):
        readers[name] += 1
    for node in nodes:
        if node.op_type != "Add":
            continue
        found = {
            places[layer.name]: index
            for index, name in enumerate(node.input)
            if (layer := _layer_alone(name, makers, readers)) is not None
        }
        if found:
            index = found[max(found)]
            node.input[index] = makers[makers[node.input[index]].input[0]].input[0]
    _without_unread(model)


def _layer_alone(name: str, makers: dict[str, onnx.NodeProto], readers: dict[str, int]) -> onnx.NodeProto | None:
    """Return the layer whose output a pair quantizes for one reader alone; None for what else an input may be."""
    for operator in ("DequantizeLinear", "QuantizeLinear"):
        node = makers.get(name)
        if node is None or node.op_type != operator or readers[name] != 1:
            return None
        name = node.input[0]
    layer = makers.get(name)
    return layer if layer is not None and layer.op_type in LAYERS and readers[name] == 1 else None


def _without_unread(model: onnx.ModelProto) -> None:
    """Take away the nodes that nobody reads any more, and their constants."""
    outputs = {output.name for output in model.graph.output}
    kept: list[onnx.NodeProto] = []
    read = set(outputs)
    for node in reversed(model.graph.node):  # in the order of computation, so that readers come first here
        if read.intersection(node.output):
            kept.append(node)
            read.update(node.input)
    constants = [constant for constant in model.graph.initializer if constant.name in read]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(kept))
    model.graph.initializer.extend(constants)
