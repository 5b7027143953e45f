"""float32 -> int8 or fp8 by explicit Q/DQ pairs, which every engine reads alike."""

import copy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType

from lstn.calibration.kept_layers import QUANTIZED, lowered_nodes
from lstn.calibration.ranges import Ranges
from lstn.precision import Precision

_FP8_OPSET = 19
"""The first that quantizes to float8, and still one that calls the sampler's mode `bilinear`."""

_INT8_MAX, _FP8_MAX = 127.0, 448.0


def quantized_model(
    model: onnx.ModelProto, precision: Precision, kept: frozenset[str], ranges: Ranges
) -> onnx.ModelProto:
    """Return `model` with the layers outside of `kept` in int8 or fp8: symmetric, and weights per output channel.

    An input that many layers read is quantized once. Outputs are not, so that an engine can fuse a layer with its
    activation. Biases stay float32: TensorRT refuses them as int32.

    Weights in int8 span -64 to 64: a CPU without VNNI adds two products of 8 by 8 bits in 16 bits, where they saturate,
    and then OpenVINO and ONNX Runtime answer something else than the file says.
    """
    names = set(lowered_nodes(model, kept))
    quantizer = QDQQuantizer(
        copy.deepcopy(model),
        per_channel=True,
        reduce_range=precision is Precision.INT8,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges.for_quantizer(),
        nodes_to_quantize=[node.name for node in model.graph.node if node.name in names],
        nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTIZED),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
        },
    )
    quantizer.quantize_model()
    quantizer.model.clean_initializers()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized if precision is Precision.INT8 else _fp8_from_int8(quantized, model)


def _fp8_from_int8(quantized: onnx.ModelProto, exact: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every int8 of Q/DQ pairs by float8 E4M3, whose largest value then stands for what int8's stood for."""
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
    constants = {weight.name: weight for weight in quantized.graph.initializer}
    originals = {weight.name: weight for weight in exact.graph.initializer}
    for scale in {node.input[1] for node in quantized.graph.node if node.op_type in _PAIR}:
        values = numpy_helper.to_array(constants[scale]) * np.float32(_INT8_MAX / _FP8_MAX)
        constants[scale].CopyFrom(numpy_helper.from_array(values.astype(np.float32), scale))
    for node in quantized.graph.node:
        if node.op_type not in _PAIR:
            continue
        zero = constants[node.input[2]]
        zero.CopyFrom(numpy_helper.from_array(np.zeros(tuple(zero.dims), dtype), zero.name))
        if node.input[0] in constants:
            weight = constants[node.input[0]]
            name = weight.name.removesuffix("_quantized")
            values = numpy_helper.to_array(originals[name])
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            scales = numpy_helper.to_array(constants[node.input[1]])
            shape = [-1 if index == axis % values.ndim else 1 for index in range(values.ndim)] if scales.ndim else []
            weight.CopyFrom(numpy_helper.from_array((values / scales.reshape(shape)).astype(dtype), weight.name))
    del quantized.graph.value_info[:]
    for entry in (*quantized.opset_import, *(opset for own in quantized.functions for opset in own.opset_import)):
        if entry.domain in ("", "ai.onnx"):  # the fused sampler's own is no business of ours
            entry.version = _FP8_OPSET
    quantized.ir_version = max(quantized.ir_version, 9)  # the first that knows float8
    return quantized


_PAIR = ("QuantizeLinear", "DequantizeLinear")
