"""float32 -> int8 or fp8 by explicit Q/DQ pairs, which every engine reads alike."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType, add_infer_metadata

from lstn.calibration.half import half_model
from lstn.calibration.kept_layers import QUANTIZED, lowered_nodes
from lstn.calibration.ranges import Ranges
from lstn.calibration.residual_sums import join_sums
from lstn.precision import Precision

_OPSET = 19
"""The first that quantizes to float8, and float16; and still one that calls the sampler's mode `bilinear`."""

_INT8_MAX, _INT8_WEIGHT, _FP8_MAX = 127.0, 64.0, 448.0
"""The largest values: of activations in int8, of weights in int8, and of float8 E4M3."""

_SMALLEST = float(np.finfo(np.float16).tiny)
"""Of a scale in float16: below it, its own rounding is coarse, and a GPU may take it for zero."""

_PAIR = ("QuantizeLinear", "DequantizeLinear")


def quantized_model(
    model: onnx.ModelProto, precision: Precision, kept: frozenset[str], ranges: Ranges
) -> onnx.ModelProto:
    """Return `model` with the layers outside of `kept` in int8 or fp8: symmetric, and weights per output channel.

    An input that many layers read is quantized once. Outputs are not, so that an engine can fuse a layer with its
    activation. Biases are not quantized: TensorRT refuses them as int32.

    Weights in int8 span -64 to 64: a CPU without VNNI adds two products of 8 by 8 bits in 16 bits, where they saturate,
    and then OpenVINO and ONNX Runtime answer something else than the file says.

    With float16 between the layers, of the two inputs of a residual block's sum the layer's is not quantized
    (`join_sums`).
    """
    names = set(lowered_nodes(model, kept))
    base = _on_halves(model, kept) if precision.half_between else copy.deepcopy(model)
    quantizer = QDQQuantizer(
        _with_shapes(base),
        per_channel=True,
        reduce_range=not precision.float8,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=_ranges_on_halves(ranges, base) if precision.half_between else ranges.for_quantizer(),
        nodes_to_quantize=[node.name for node in base.graph.node if node.name in names],
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
    if precision.half_between:
        join_sums(quantized)
    if precision is not Precision.INT8:
        _scale_again(quantized, base, float8=precision.float8)
    return quantized


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with the shape of every tensor, marked as the quantizer marks one: else it infers them by files.

    It would write the model to a temporary folder, read it back, and not notice that the disk is full.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    add_infer_metadata(inferred)
    return inferred


def _on_halves(model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
    """Return the model with float16 wherever layers are to read 8 bits, at an opset that quantizes it."""
    half = half_model(model, Precision.FP16, kept)
    _set_opset(half)
    return half


def _ranges_on_halves(ranges: Ranges, half: onnx.ModelProto) -> TensorsData:
    """Return the ranges as the quantizer takes them of float16 tensors, also of those that are cast to it."""
    found = dict(ranges.tensors)
    casts = [node for node in half.graph.node if node.op_type == "Cast" and node.input[0] in found]
    found |= {cast.output[0]: found[cast.input[0]] for cast in casts}
    least = np.float16(_SMALLEST * _INT8_MAX)
    tensors = {}
    for name, (low, high) in found.items():
        most = np.clip(np.float32(max(-low, high)), least, np.finfo(np.float16).max).astype(np.float16)
        tensors[name] = TensorData(lowest=-most, highest=most)
    return TensorsData(CalibrationMethod.MinMax, tensors)


def _scale_again(quantized: onnx.ModelProto, exact: onnx.ModelProto, *, float8: bool) -> None:
    """Write the constants of pairs again: for float8 E4M3, whose largest value then stands for what int8's stood for;
    and for float16, in which the quantizer takes a small scale of a channel for none.

    exact: the model whose weights were quantized
    """
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN) if float8 else np.int8)
    largest, largest_weight = (_FP8_MAX, _FP8_MAX) if float8 else (_INT8_MAX, _INT8_WEIGHT)
    constants = {weight.name: weight for weight in quantized.graph.initializer}
    originals = {weight.name: weight for weight in exact.graph.initializer}
    pairs = [node for node in quantized.graph.node if node.op_type in _PAIR]
    weights = [node for node in pairs if node.input[0] in constants]
    for scale in {node.input[1] for node in pairs} - {node.input[1] for node in weights}:
        values = numpy_helper.to_array(constants[scale])
        _replace(constants[scale], _as_scale(values.astype(np.float32) * (_INT8_MAX / largest), values.dtype))
    for node in weights:
        name = constants[node.input[0]].name.removesuffix("_quantized")
        values = numpy_helper.to_array(originals[name]).astype(np.float32)
        _quantize_weight(node, constants, values, largest_weight, dtype)
    for zero in {node.input[2] for node in pairs}:
        _replace(constants[zero], np.zeros(tuple(constants[zero].dims), dtype))
    if float8:
        del quantized.graph.value_info[:]
        _set_opset(quantized)


def _quantize_weight(
    node: onnx.NodeProto,
    constants: Mapping[str, TensorProto],
    values: npt.NDArray[np.float32],
    largest: float,
    dtype: np.dtype[Any],
) -> None:
    """Write the constants of a DequantizeLinear, whose result is to be `values`, by the largest of each channel."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    scale = numpy_helper.to_array(constants[node.input[1]])
    others = tuple(index for index in range(values.ndim) if not scale.ndim or index != axis % values.ndim)
    peaks = np.abs(values).max(axis=others)
    scales = _as_scale(np.where(peaks > 0, peaks / largest, 1), scale.dtype)
    shape = [-1 if index not in others else 1 for index in range(values.ndim)] if scale.ndim else []
    scaled = (values / scales.astype(np.float32).reshape(shape)).clip(-largest, largest)
    _replace(constants[node.input[0]], (np.rint(scaled) if dtype == np.int8 else scaled).astype(dtype))
    _replace(constants[node.input[1]], scales.reshape(scale.shape))


def _as_scale(values: npt.NDArray[np.floating[Any]], dtype: np.dtype[Any]) -> npt.NDArray[np.floating[Any]]:
    return np.asarray(values if dtype == np.float32 else np.maximum(values, _SMALLEST)).astype(dtype)


def _replace(constant: TensorProto, values: npt.NDArray[Any]) -> None:
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))


def _set_opset(model: onnx.ModelProto) -> None:
    for entry in (*model.opset_import, *(opset for own in model.functions for opset in own.opset_import)):
        if entry.domain in ("", "ai.onnx"):  # the fused sampler's own is no business of ours
            entry.version = _OPSET
    model.ir_version = max(model.ir_version, 9)  # the first that knows float8
