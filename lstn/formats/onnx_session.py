"""An ONNX model in ONNX Runtime: the one place where it is set up, and where its errors become ours."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.errors import ArtifactError, DeviceError
from lstn.imports import require
from lstn.report.wording import counted

Arrays: TypeAlias = list[npt.NDArray[np.float32]]

CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_FATAL = 4

_CRASHES = ("MatmulTransposeFusion",)
"""Optimizers that are left out on a CPU. ONNX Runtime 1.31 ends the process with a segmentation fault where this one
meets a float16 Transpose before a MatMul, as in attention."""

_ELSEWHERE = {
    "bfloat16": "bf16 is for OpenVINO and TensorRT: lstn export {name} --engine openvino",
    "float8": "fp8 is for TensorRT: lstn export {name} --engine trt",
}
"""A type in ONNX Runtime's complaint -> who runs it."""


class OnnxSession:
    """One ONNX model, ready to run. Its errors call it `name`.

    threads:    within one operator; None leaves the choice to ONNX Runtime
    spin:       whether they wait busily between operators
    as_written: every node as it stands; else ONNX Runtime fuses and reorders as it does in deployment, and then
                multiplies int8 by int8 where the file says float32 between QuantizeLinear and DequantizeLinear
    profile:    how the name of the file begins in which ONNX Runtime notes what every node took; None for no such file

    Raises:
        ArtifactError: ONNX Runtime can't open the model.
        MissingExtra: it isn't installed.
    """

    def __init__(
        self,
        model: Path | bytes,
        name: str = "",
        *,
        cuda: bool = False,
        threads: int | None = None,
        spin: bool = True,
        as_written: bool = False,
        profile: Path | None = None,
    ) -> None:
        ort = require("onnxruntime", extra="runtime")
        ort.set_default_logger_severity(_FATAL)  # else a provider that doesn't load prints its own story
        self._name = name or (str(model) if isinstance(model, Path) else "the model")
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL  # an error comes back as an exception, and is said once
        options.intra_op_num_threads = threads or 0
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        if as_written:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        # float32 means float32: ONNX Runtime multiplies in TF32 on a GPU unless told otherwise.
        providers: list[Any] = [(CUDA, {"use_tf32": "0"}), _CPU] if cuda else [_CPU]
        source = str(model) if isinstance(model, Path) else model
        left_out = {} if cuda else {"disabled_optimizers": list(_CRASHES)}
        try:
            with redirect_stdout(StringIO()):  # both print what doesn't load, where rows of JSON are to stand
                if cuda:
                    ort.preload_dlls()  # finds the CUDA libraries that pip installed
                self._session: Any = ort.InferenceSession(source, options, providers=providers, **left_out)
        except Exception as error:  # ONNX Runtime's classes have no base of their own
            told = _told(error)
            # Of these types it has no kernels; the file is meant for others.
            hint = next((cure for dtype, cure in _ELSEWHERE.items() if dtype in told), "").format(name=self._name)
            raise ArtifactError(
                f"{self._name}: ONNX Runtime {ort.__version__} can't open it: {told}", hint=hint
            ) from error
        self.outputs = tuple(str(output.name) for output in self._session.get_outputs())
        self.on_cuda = CUDA in self._session.get_providers()

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Return the values of `outputs`, all by default, for these inputs, whose first axis is the batch.

        Raises:
            DeviceError: ONNX Runtime can't compute them.
        """
        try:
            found: Arrays = self._session.run(None if outputs is None else list(outputs), dict(inputs))
        except Exception as error:
            count = len(next(iter(inputs.values())))
            raise DeviceError(
                f"{self._name}: ONNX Runtime failed on {counted(count, 'image')}: {_told(error)}"
            ) from error
        return found

    def end_profiling(self) -> Path:
        """Return the file in which ONNX Runtime noted what every node took."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the session, even while somebody still holds it."""
        self._session = None


def _told(error: Exception) -> str:
    """`[ONNXRuntimeError] : 1 : FAIL : what happened` -> what happened, on one line."""
    return " ".join(str(error).split()).split(" : ", 3)[-1][:300]
