"""The check of a plan that `lstn export` has built: the runtime runs it where its GPU is, and the export judges."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lstn.contract import LOGITS, THETA
from lstn.errors import MissingExtra
from lstn.formats.plan_file import read_sidecar
from lstn.machine.gpu import find_gpus

if TYPE_CHECKING:
    from lstn.export.onnx.verify_onnx import Agreement, Outputs
    from lstn.formats.training_record import Training
    from lstn.images import Pixels
    from lstn.runtime.engines.base import Engine


class PlanComparison:
    """A check for `write_plan`, and what it found: how plan and ONNX file agree, or why they were not compared.

    training: the images are those of its data set; where it isn't known, digits
    """

    def __init__(self, onnx_file: Path, training: "Training | None") -> None:
        self.agreement: Agreement | None = None
        self.obstacle = ""
        self._onnx_file = onnx_file
        self._data, self._seed = ("digits", 0) if training is None else (training.data, training.seed)

    def __call__(self, plan: Path) -> int:
        """Compare a plan, with its sidecar beside it, with the ONNX file; return on how many images.

        Raises:
            VerificationError: it computes something else.
            LstnError: it can't be opened, or run.
        """
        from lstn.export.onnx.verify_onnx import sample_images
        from lstn.export.tensorrt.verify_plan import COMPARED, verify_plan
        from lstn.imaging.framing import framing_of
        from lstn.runtime.engines.opening import open_engine

        sidecar, gpus = read_sidecar(plan), find_gpus()
        if not gpus or gpus[0].target not in sidecar.targets:
            self.obstacle = f"this machine has no GPU of {', '.join(sidecar.targets)}"
            return 0
        if sidecar.precision not in COMPARED:
            self.obstacle = f"ONNX Runtime has no {sidecar.precision} on a CPU"
            return 0
        contract = sidecar.contract
        images = sample_images(
            self._data, contract.image_hw, seed=self._seed, task=contract.task, framing=framing_of(contract)
        )
        try:
            with open_engine(plan) as engine:
                self.agreement = verify_plan(
                    lambda pixels: _outputs(engine, pixels),
                    self._onnx_file,
                    sidecar.contract,
                    images,
                    precision=sidecar.precision,
                    tf32=sidecar.tf32,
                )
        except MissingExtra as error:
            self.obstacle = f"{error.message}; {error.hint}"
            return 0
        return self.agreement.images


def _outputs(engine: "Engine", pixels: "Pixels") -> "Outputs":
    prediction = engine.infer(pixels)
    theta = {} if prediction.theta is None else {THETA: np.asarray(prediction.theta)}
    return {LOGITS: prediction.logits, **theta}
