"""An ONNX model in ONNX Runtime: the one place where it is set up, and where its errors become ours."""

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.errors import ArtifactError, DeviceError, closed_engine
from lstn.files import check_utf8
from lstn.imports import require
from lstn.nvidia_driver import CUDA_PROVIDER, no_cuda_provider
from lstn.report.wording import counted

Arrays: TypeAlias = list[npt.NDArray[np.float32]]

_CPU = "CPUExecutionProvider"
_FATAL = 4

_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
"""float32 means float32: ONNX Runtime multiplies in TF32 on a GPU unless told otherwise. And it times all of cuDNN's
algorithms, for seconds and with much memory, for each batch size that is new."""

_NUMBER = re.compile(r"\bsystem error number (\d+)")
_NO_MEMORY = re.compile(r"out of memory|allocate memory|smaller than requested|ALLOC_FAILED|bad_?alloc", re.IGNORECASE)
"""CUDA, cuDNN, cuBLAS and ONNX Runtime's own allocators, each in its words."""

_FREE = "free memory on this device"
_PROVIDER = "onnxruntime_providers_cuda.dll" if os.name == "nt" else "libonnxruntime_providers_cuda.so"

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
    cuda:       on the first GPU; `cuda_problem` says why it is on the CPU all the same, or is None
    profile:    how the name of the file begins in which ONNX Runtime notes what every node took; None for no such file

    Raises:
        ArtifactError: ONNX Runtime can't open the model.
        DeviceError: there is not enough memory for it.
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
        if isinstance(model, Path):
            check_utf8(model, "engines")
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
        providers: list[Any] = [(CUDA_PROVIDER, _CUDA_OPTIONS), _CPU] if cuda else [_CPU]
        source = str(model) if isinstance(model, Path) else model
        left_out = {} if cuda else {"disabled_optimizers": list(_CRASHES)}
        try:
            heard = StringIO()
            with redirect_stdout(heard):  # both print what doesn't load, where rows of JSON are to stand
                if cuda:
                    ort.preload_dlls()  # finds the CUDA libraries that pip installed
                self._session: Any = ort.InferenceSession(source, options, providers=providers, **left_out)
        except Exception as error:  # ONNX Runtime's classes have no base of their own
            told = _told(error)
            if _NO_MEMORY.search(told):
                raise DeviceError(f"{self._name}: not enough memory for this model: {told}", hint=_FREE) from error
            # Of these types it has no kernels; the file is meant for others.
            hint = next((cure for dtype, cure in _ELSEWHERE.items() if dtype in told), "").format(name=self._name)
            raise ArtifactError(
                f"{self._name}: ONNX Runtime {ort.__version__} can't open it: {told}", hint=hint
            ) from error
        self.outputs = tuple(str(output.name) for output in self._session.get_outputs())
        self._session.disable_fallback()  # to the CPU for the rest of its days, after one failure on the GPU
        self.cuda_problem = (
            _no_cuda(ort, heard.getvalue()) if cuda and CUDA_PROVIDER not in self._session.get_providers() else None
        )

    def run(self, inputs: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Return the values of `outputs`, all by default, for these inputs, whose first axis is the batch.

        Raises:
            DeviceError: ONNX Runtime can't compute them, such as without enough memory.
        """
        with self._telling(len(next(iter(inputs.values())))):
            found: Arrays = self._session.run(None if outputs is None else list(outputs), dict(inputs))
        return found

    def bind(self, name: str, images: npt.NDArray[Any], outputs: Sequence[str]) -> Callable[[], Arrays]:
        """Return what computes `outputs` of whatever stands in `images`, the input `name`, when it is called.

        images: C-contiguous. It is read where it is: on a CPU there is no copy, on a GPU the one that CUDA makes, which
            takes no detour if the memory is page-locked.

        Raises:
            DeviceError: as `run`, now or when it is called.
        """
        with self._telling(len(images)):
            binding = self._session.io_binding()
            binding.bind_cpu_input(name, images)
            for output in outputs:
                binding.bind_output(output)

        def run() -> Arrays:
            with self._telling(len(images)):
                self._session.run_with_iobinding(binding)
                found: Arrays = binding.copy_outputs_to_cpu()
            return found

        return run

    def end_profiling(self) -> Path:
        """Return the file in which ONNX Runtime noted what every node took."""
        return Path(self._session.end_profiling())

    @contextmanager
    def _telling(self, count: int) -> Iterator[None]:
        """Make ONNX Runtime's errors ours. count: of images."""
        if self._session is None:
            raise closed_engine(self._name)
        try:
            yield
        except Exception as error:
            told, images = _told(error), counted(count, "image")
            if _NO_MEMORY.search(told):
                short = f"not enough memory for {images} at once"
                raise DeviceError(f"{self._name}: {short}: {told}", hint=f"use a smaller batch, or {_FREE}") from error
            raise DeviceError(f"{self._name}: ONNX Runtime failed on {images}: {told}") from error

    def close(self) -> None:
        """Free the session, even while somebody still holds it."""
        self._session = None


def _no_cuda(ort: Any, heard: str) -> DeviceError:
    """Return why its CUDA provider isn't loaded: as it printed it, or as the system says of the file."""
    noise = ("***", "Falling back", "Please follow")
    said = [line for line in heard.splitlines() if line.strip() and not line.startswith(noise)]
    if not said:
        try:
            ctypes.CDLL(str(Path(ort.__file__).parent / "capi" / _PROVIDER))
        except OSError as error:
            said = [str(error)]
    return no_cuda_provider(ort.__version__, "; ".join(said)[:400] or "it gave no reason")


def _told(error: Exception) -> str:
    """`[ONNXRuntimeError] : 1 : FAIL : what happened` -> what happened, on one line; the system's errors in words."""
    told = " ".join(str(error).split()).split(" : ", 3)[-1][:300]
    return _NUMBER.sub(lambda found: os.strerror(int(found[1])), told)
