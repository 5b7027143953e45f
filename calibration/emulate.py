"""Models in types that ONNX Runtime's CPU kernels lack, rewritten so that it computes the same values in float32.

What an engine with such kernels differs in, the order of sums inside of a layer, is no part of it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from lstn.precision import Precision


def emulated(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """Return what ONNX Runtime runs on a CPU in place of `model`, which may be `model` itself."""
    if precision is Precision.BF16:
        return _float32_rounded_to_bfloat16(model)
    if precision.float8:
        return _without_fp8_kernels(model)
    return model


def _float32_rounded_to_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in float32, and round whatever was bfloat16 to it."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {entry.name: entry.type.tensor_type.elem_type for entry in inferred.value_info}
    result = _copy(model)
    for weight in result.graph.initializer:
        if weight.data_type == TensorProto.BFLOAT16:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        rounded = [name for name in node.output if types.get(name) == TensorProto.BFLOAT16]
        if rounded and node.op_type == "Cast":
            nodes += _rounding(node.input[0], node.output[0])
            continue
        node.output[:] = [f"{name}/exact" if name in rounded else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            nodes += _rounding(f"{name}/exact", name)
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    return result


def _rounding(source: str, target: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [source], [f"{target}/bf16"], f"{target}/to_bf16", to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [f"{target}/bf16"], [target], f"{target}/from_bf16", to=TensorProto.FLOAT),
    ]


def _without_fp8_kernels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Dequantize weights here, and write the pairs around activations as arithmetic and casts.

    ONNX Runtime takes any layer or pooling between Q/DQ pairs for int8's, and then refuses float8 for it.
    """
    result = _copy(model)
    constants = {weight.name: weight for weight in result.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        if node.op_type == "QuantizeLinear":
            scaled = f"{node.output[0]}/scaled"
            nodes.append(helper.make_node("Div", [node.input[0], node.input[1]], [scaled], scaled))
            nodes.append(helper.make_node("Cast", [scaled], [node.output[0]], node.name, to=TensorProto.FLOAT8E4M3FN))
        elif node.op_type != "DequantizeLinear":
            nodes.append(node)
        elif node.input[0] in constants:
            result.graph.initializer.append(numpy_helper.from_array(_dequantized(node, constants), node.output[0]))
        else:
            unscaled, dtype = f"{node.output[0]}/unscaled", constants[node.input[1]].data_type
            nodes.append(helper.make_node("Cast", [node.input[0]], [unscaled], unscaled, to=dtype))
            nodes.append(helper.make_node("Mul", [unscaled, node.input[1]], [node.output[0]], node.name))
    used = {name for node in nodes for name in node.input}
    weights = [weight for weight in result.graph.initializer if weight.name in used]
    del result.graph.node[:], result.graph.value_info[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(weights)
    return result


def _dequantized(node: onnx.NodeProto, constants: dict[str, TensorProto]) -> npt.NDArray[np.floating[Any]]:
    """Return the weight, of the type of its scale, that a DequantizeLinear without a zero point makes of constants."""
    values = numpy_helper.to_array(constants[node.input[0]]).astype(np.float32)
    scales = numpy_helper.to_array(constants[node.input[1]])
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    if scales.ndim:
        scales = scales.reshape([-1 if index == axis % values.ndim else 1 for index in range(values.ndim)])
    return np.asarray((values * scales).astype(scales.dtype))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result
