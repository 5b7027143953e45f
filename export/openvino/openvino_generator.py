"""The same noise through an OpenVINO generator and through the ONNX file that it was made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lstn.contract import Contract
from lstn.errors import ArtifactError, DeviceError, VerificationError
from lstn.export.onnx.verify_generator import (
    BEFORE_ROUNDING,
    GeneratorAgreement,
    NamedInputs,
    Runner,
    close_enough,
    compare_pictures,
    onnx_runner,
)
from lstn.formats.openvino_file import CPU_SETTINGS
from lstn.machine.signal_stack import signal_stack_kept


def verify_openvino_generator(ov: Any, model: Any, onnx_file: Path, contract: Contract) -> GeneratorAgreement:
    """Compare an openvino.Model of a generator with the ONNX file that it was made of, in ONNX Runtime.

    Raises:
        VerificationError: pictures or theta differ by more than the tolerance, or one of the two doesn't run.
    """
    try:
        found = compare_pictures(openvino_runner(ov, model), onnx_runner(onnx_file), contract)
    except (ArtifactError, DeviceError) as error:
        raise VerificationError(f"the model does not run: {error.message}") from error
    return close_enough(found, "in OpenVINO the model differs from its ONNX file")


def openvino_runner(ov: Any, model: Any) -> Runner:
    """Return what runs an openvino.Model of a generator, with the output BEFORE_ROUNDING."""
    unrounded = model.clone()
    (rounding,) = (op for op in unrounded.get_ordered_ops() if op.get_type_name() == "Round")
    unrounded.add_outputs(rounding.input_value(0))
    with signal_stack_kept():
        compiled = ov.Core().compile_model(unrounded, "CPU", dict(CPU_SETTINGS))

    def run(feeds: NamedInputs) -> Mapping[str, npt.NDArray[Any]]:
        answers = compiled(dict(feeds))
        *named, last = compiled.outputs
        found = {name: answers[port] for port in named for name in port.get_names()}
        return found | {BEFORE_ROUNDING: answers[last]}

    return run
