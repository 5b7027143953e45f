"""The same images through an OpenVINO model and through the ONNX file that it was made of: how far apart are the two?

ONNX Runtime runs the file node by node, as it is written: its optimizer turns Q/DQ files into others. A trained one
with its localizer lowered drifted 0.8 px at 64 x 64 from itself; OpenVINO stayed within 1e-5 px of the file.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import VerificationError
from lstn.export.onnx.verify_onnx import (
    INT8_LOGIT_TOLERANCE,
    MOST,
    Agreement,
    Outputs,
    batched,
    check_outputs_finite,
    compare_answers,
    distance,
    onnx_outputs,
    tolerances,
)
from lstn.formats.openvino_file import CPU_SETTINGS
from lstn.images import Pixels
from lstn.imports import require
from lstn.machine.signal_stack import signal_stack_kept

_UNITS = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
"""By how much of itself a number is moved, at most, when it is rounded to that type."""

DISTANCES = 5.0
"""How many times as far from its ONNX file as from itself, disturbed by roundings, a model may be.

Measured on three trained models and an untrained one, as float32, bfloat16, and int8 with any part lowered: 0 to 2.7
times.
"""

_TRIALS = 3


def verify_openvino(model: Any, onnx_file: Path, contract: Contract, images: Pixels, *, precision: str) -> Agreement:
    """Compare an openvino.Model with the ONNX file that it was made of, on images (N, H, W, 3) uint8 RGB.

    The tolerances are those of `verify_onnx`, but for int8 (see above). Beyond them passes what is within DISTANCES
    times the model's own distance from itself with every constant moved by a rounding: what a computation in floating
    point finds is what exact arithmetic finds from data so disturbed.

    Raises:
        VerificationError: logits or theta aren't finite or differ by more, or one of the two doesn't run the model.
    """
    expected = onnx_outputs(_readable(onnx_file, precision), contract, images, as_written=True)
    found = _outputs(model, contract, images)
    check_outputs_finite(expected, "ONNX Runtime")
    check_outputs_finite(found, "OpenVINO")
    share = MOST if precision == "int8" else 1.0
    away = distance(found, expected, contract, share)
    logits, drift = tolerances(expected)
    if precision == "int8":
        logits = INT8_LOGIT_TOLERANCE * float(np.abs(expected[LOGITS]).max())
    if away[0] > logits or away[1] > drift:
        disturbed = [_outputs(_disturbed(model, seed), contract, images) for seed in range(_TRIALS)]
        own = [distance(each, found, contract, share) for each in disturbed]
        logits = max(logits, DISTANCES * max(each[0] for each in own))
        drift = max(drift, DISTANCES * max(each[1] for each in own))
    agreement = compare_answers(found, expected, contract)
    if away[0] > logits or away[1] > drift:
        raise VerificationError(
            f"in OpenVINO the model differs from its ONNX file: {agreement}; "
            f"rounding explains {logits:.1e}" + ("" if agreement.drift_px is None else f" and {drift:.1e} px")
        )
    return agreement


def _outputs(model: Any, contract: Contract, images: Pixels) -> Outputs:
    ov = require("openvino", extra="openvino")
    names = [LOGITS] if contract.loc is Loc.NONE else [LOGITS, THETA]
    batches: list[list[npt.NDArray[np.float32]]] = []
    try:
        with signal_stack_kept():
            compiled = ov.Core().compile_model(model, "CPU", CPU_SETTINGS)
        for pixels in batched(images):
            answers = compiled({PIXELS: pixels})
            batches.append([answers[name].copy() for name in names])
    except Exception as error:  # one RuntimeError for everything
        told = " ".join(str(error).split())
        raise VerificationError(f"OpenVINO can't run the exported model: {told:.300}") from error
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*batches, strict=True), strict=True)}


def _disturbed(model: Any, seed: int) -> Any:
    """Return a copy of the model with each constant moved at random, by no more than its type's rounding."""
    opset = require("openvino.opset13", extra="openvino")
    random = np.random.default_rng(seed)
    copy = model.clone()
    for op in copy.get_ordered_ops():
        kind = op.get_output_element_type(0).get_type_name() if op.get_type_name() == "Constant" else ""
        if unit := _UNITS.get(kind):
            values = op.get_data(dtype=np.float32)
            moved = (values * (1 + unit * random.uniform(-1, 1, values.shape))).astype(np.float32)
            constant = opset.constant(moved, dtype=op.get_output_element_type(0))
            for user in list(op.output(0).get_target_inputs()):
                user.replace_source_output(constant.output(0))
    return copy


def _readable(onnx_file: Path, precision: str) -> Path | bytes:
    """Return what ONNX Runtime runs of the file: all of it, or the same in float32, where it has no bfloat16.

    Its weights stay rounded to bfloat16; what lies between two nodes doesn't.
    """
    if precision != "bf16":
        return onnx_file
    onnx = require("onnx", extra="export")
    model = onnx.load(onnx_file)
    low, float32 = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == low:
                attribute.i = float32
            tensors += [attribute.t] if attribute.HasField("t") else []
    for tensor in tensors:
        if tensor.data_type == low:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())
