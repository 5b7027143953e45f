"""model.onnx -> the same model in lower precision."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lstn.calibration.half import half_model
from lstn.calibration.kept_layers import LAYERS, all_kept, layer_names, lowered_nodes
from lstn.calibration.quantize import quantized_model
from lstn.calibration.ranges import Ranges
from lstn.contract import Contract
from lstn.errors import ArtifactError
from lstn.formats.onnx_file import read_model
from lstn.precision import Precision


def load_float32(path: Path) -> tuple[Contract, onnx.ModelProto]:
    """Read an ONNX file of lstn that is still in float32.

    Raises:
        ArtifactError: not one of lstn, calibrated already, written by an lstn that didn't name its nodes, or with
            weights that are not finite.
    """
    contract, described = read_model(path)
    model = onnx.load(path)
    if described.operators.get("QuantizeLinear") or any(
        weight.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16) for weight in model.graph.initializer
    ):
        raise ArtifactError(f"{path}: lowered already", hint="calibrate the float32 file that it was made from")
    try:
        layer_names(model)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.message}", hint=error.hint) from error
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and not np.isfinite(numpy_helper.to_array(weight)).all():
            raise ArtifactError(
                f"{path}: the weight {weight.name} holds values that are not finite",
                hint="train the model again, with a lower --lr, and export it",
            )
    return contract, model


def lowered_model(
    model: onnx.ModelProto, precision: Precision, kept: frozenset[str], ranges: Ranges | None
) -> onnx.ModelProto:
    """Return `model` with all layers but `kept` in lower precision; metadata, inputs and outputs stay what they are.

    kept:   layers that stay float32, as `lstn.calibration.kept_layers.kept_layers` returns them
    ranges: for int8 and fp8

    Raises:
        UsageError: nothing would be lowered.
        LstnError: a weight is too large for float16.
    """
    names = set(lowered_nodes(model, kept))
    if not any(node.op_type in LAYERS for node in model.graph.node if node.name in names):
        raise all_kept()
    lowered = half_model(model, precision, kept) if ranges is None else quantized_model(model, precision, kept, ranges)
    del lowered.metadata_props[:]
    lowered.metadata_props.extend(model.metadata_props)
    lowered.producer_name, lowered.producer_version = model.producer_name, model.producer_version
    return lowered
