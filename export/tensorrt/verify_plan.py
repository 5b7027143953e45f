"""The same real images through a plan on its GPU and through the ONNX file that it was built from: how far apart?

ONNX Runtime runs the file node by node, as it is written, on the CPU: TensorRT too computes in the precision that the
file says.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lstn.contract import LOGITS, Contract
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
from lstn.images import Pixels

COMPARED = ("fp32", "fp16", "int8")
"""Precisions that ONNX Runtime has kernels for on a CPU."""

DISTANCES = 5.0
"""How many times as far from its ONNX file as that is from itself, when ONNX Runtime fuses it, a plan may be.

Fused, a model rounds elsewhere: float16 less often, and int8 to other steps. Some models amplify that.
"""

_FP16_LOGIT_TOLERANCE, _FP16_DRIFT_PX = 0.02, 0.25
"""Of a float16 model, in place of LOGIT_TOLERANCE and DRIFT_TOLERANCE_PX: 40 roundings of the largest logit. Chosen,
and not measured on a GPU yet, as is that int8 has the same drift."""


def verify_plan(
    answers: Callable[[Pixels], Outputs],
    onnx_file: Path,
    contract: Contract,
    images: Pixels,
    *,
    precision: str,
    tf32: bool,
) -> Agreement:
    """Compare what a plan answers with its ONNX file, on images (N, H, W, 3) uint8 RGB of the contract's size.

    answers:   of the plan to a batch; it gets several sizes
    precision: the plan's, one of COMPARED. In a lower one than float32 `MOST` of the images have to agree.
    tf32:      whether it multiplies float32 in TF32, which has as many bits of fraction as float16

    Raises:
        VerificationError: logits or theta aren't finite, or differ by more than rounding explains.
    """
    expected = onnx_outputs(onnx_file, contract, images, as_written=True)
    pieces = [answers(pixels) for pixels in batched(images)]
    found = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    check_outputs_finite(expected, "ONNX Runtime")
    check_outputs_finite(found, "TensorRT")
    exact = precision == "fp32" and not tf32
    share = 1.0 if exact else MOST
    away = distance(found, expected, contract, share)
    logits, drift = tolerances(expected)
    if not exact:
        step = INT8_LOGIT_TOLERANCE if precision == "int8" else _FP16_LOGIT_TOLERANCE
        logits, drift = step * float(np.abs(expected[LOGITS]).max()), _FP16_DRIFT_PX
    if away[0] > logits or away[1] > drift:
        own = distance(onnx_outputs(onnx_file, contract, images), expected, contract, share)
        logits, drift = max(logits, DISTANCES * own[0]), max(drift, DISTANCES * own[1])
    agreement = compare_answers(found, expected, contract)
    if away[0] > logits or away[1] > drift:
        raise VerificationError(
            f"in TensorRT the model differs from its ONNX file: {agreement}; "
            f"rounding explains {logits:.1e}" + ("" if agreement.drift_px is None else f" and {drift:.1e} px"),
            hint="report this, with the file of --build-log",
        )
    return agreement
