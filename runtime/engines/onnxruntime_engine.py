"""ONNX Runtime, on a CPU or a CUDA GPU. Here its errors become ours, and its log is silenced."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import ArtifactError, DeviceError, MissingExtra
from lstn.formats.onnx_file import read_model
from lstn.formats.plan_file import Tensor
from lstn.images import Pixels
from lstn.imports import install_line, require
from lstn.machine.gpu import Device, find_gpus
from lstn.runtime.engines.base import Engine, Prediction, check_pixels, check_prediction
from lstn.terminal import warn

MAX_BATCH = 1024
"""The model itself takes any; this many images of 224 x 224 are 150 MB, and their activations gigabytes."""

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_FATAL = 4
_ELSEWHERE = {
    "bfloat16": "bf16 is for OpenVINO and TensorRT: lstn export {path} --engine openvino",
    "float8": "fp8 is for TensorRT: lstn export {path} --engine trt",
}
"""A type in ONNX Runtime's complaint -> who runs it."""


class OnnxEngine:
    """An ONNX model in a session of ONNX Runtime."""

    def __init__(self, path: Path, contract: Contract, session: Any) -> None:
        self.contract = contract
        self.max_batch = MAX_BATCH
        self._path = path
        self._session = session
        self._outputs = [LOGITS] if contract.loc is Loc.NONE else [LOGITS, THETA]

    def close(self) -> None:
        """Free the session, even while somebody still holds the engine."""
        self._session = None

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, 2, 3) float32; see `Engine.infer`."""
        check_pixels(pixels, self.contract, self.max_batch)
        try:
            logits, *theta = self._session.run(self._outputs, {PIXELS: pixels})
        except Exception as error:  # ONNX Runtime's classes have no base of their own
            raise DeviceError(f"{self._path}: ONNX Runtime failed on {len(pixels)} images: {_told(error)}") from error
        prediction = Prediction(logits, theta[0] if theta else None)
        return check_prediction(prediction, self.contract, len(pixels), source=str(self._path))


@contextmanager
def open_onnx(path: Path, *, device: Device, threads: int | None, spin: bool) -> Iterator[Engine]:
    """Open an ONNX file of lstn. See `open_engine` for the arguments.

    Raises:
        ArtifactError: no ONNX file, not one of lstn, with weights in other files, or one that ONNX Runtime can't run.
        DeviceError: `device` is cuda, and there is no GPU or ONNX Runtime can't use it.
        MissingExtra: no ONNX Runtime, or one without CUDA.
    """
    contract = check_onnx(path)
    ort = require("onnxruntime", extra="runtime")
    ort.set_default_logger_severity(_FATAL)  # else a provider that doesn't load prints its own story
    chosen = resolve_device(device)
    session = new_session(ort, path, chosen, threads=threads, spin=spin)
    if chosen is Device.CUDA and _CUDA not in session.get_providers():
        # ONNX Runtime falls back by itself, and says so only in the log.
        problem, hint = "ONNX Runtime can't load its CUDA libraries", "lstn doctor says what fits together"
        if device is Device.CUDA:
            raise DeviceError(problem, hint=hint)
        warn(f"{problem}, so the model runs on the CPU; {hint}")
    engine = OnnxEngine(path, contract, session)
    del session
    try:
        yield engine
    finally:
        engine.close()


def check_onnx(path: Path) -> Contract:
    """Return the contract of an ONNX file whose inputs and outputs are those that it describes.

    Raises:
        ArtifactError: what `read_model` refuses, or other inputs and outputs.
    """
    contract, onnx = read_model(path)
    check_tensors(path, contract, onnx.inputs, onnx.outputs)
    return contract


def check_tensors(
    path: Path, contract: Contract, found_inputs: Sequence[Tensor], found_outputs: Sequence[Tensor]
) -> None:
    """Refuse inputs and outputs that aren't those that the contract describes.

    Raises:
        ArtifactError: they aren't.
    """
    inputs = (Tensor(PIXELS, "uint8", (-1, *contract.image_hw, 3)),)
    outputs = [Tensor(LOGITS, "float32", (-1, len(contract.labels)))]
    if contract.loc is not Loc.NONE:
        outputs.append(Tensor(THETA, "float32", (-1, 2, 3)))
    for what, found, wanted in (("inputs", found_inputs, inputs), ("outputs", found_outputs, outputs)):
        by_name = {tensor.name: tensor for tensor in found}
        if len(found) != len(wanted) or not all(_fits(by_name.get(tensor.name), tensor) for tensor in wanted):
            raise ArtifactError(
                f"{path}: its {what} are {_listed(found)}; its contract says {_listed(wanted)}",
                hint="make it again with: lstn export",
            )


def resolve_device(device: Device) -> Device:
    """Return cpu or cuda: what `device` stands for on this machine, with the ONNX Runtime that is installed.

    Raises:
        DeviceError: cuda is wanted, and no GPU is there.
        MissingExtra: no ONNX Runtime, or cuda is wanted and it was built without it.
    """
    ort = require("onnxruntime", extra="runtime")
    gpu, built_in = bool(find_gpus()), _CUDA in ort.get_available_providers()
    if device is Device.AUTO:
        return Device.CUDA if gpu and built_in else Device.CPU
    if device is Device.CUDA and not gpu:
        raise DeviceError("--device cuda: this machine shows no NVIDIA GPU", hint="leave it out, or use --device cpu")
    if device is Device.CUDA and not built_in:
        raise MissingExtra(
            "this ONNX Runtime can't use a GPU", hint=f"run: pip uninstall onnxruntime && {install_line('gpu')}"
        )
    return device


def new_session(
    ort: ModuleType, path: Path, device: Device, *, threads: int | None, spin: bool, profile: Path | None = None
) -> Any:
    """Return an InferenceSession on `device`, which is cpu or cuda.

    profile: how the name of the file begins in which ONNX Runtime notes what every node took; None for no such file

    Raises:
        ArtifactError: ONNX Runtime can't open the file.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    # float32 means float32: ONNX Runtime multiplies in TF32 on a GPU unless told otherwise.
    providers: list[Any] = [(_CUDA, {"use_tf32": "0"}), _CPU] if device is Device.CUDA else [_CPU]
    try:
        with redirect_stdout(StringIO()):  # both print what doesn't load, where rows of JSON are to stand
            if device is Device.CUDA:
                ort.preload_dlls()  # finds the CUDA libraries that pip installed
            return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's classes have no base of their own
        told = _told(error)
        # Of these types it has no kernels; the file is meant for others.
        hint = next((cure for dtype, cure in _ELSEWHERE.items() if dtype in told), "").format(path=path)
        raise ArtifactError(f"{path}: ONNX Runtime {ort.__version__} can't open it: {told}", hint=hint) from error


def _fits(found: Tensor | None, wanted: Tensor) -> bool:
    """A size that the file leaves open may turn out right, and is checked again when the engine answers."""
    if found is None or found.dtype != wanted.dtype or len(found.shape) != len(wanted.shape):
        return False
    return found.shape[0] == -1 and all(
        size in (-1, right) for size, right in zip(found.shape[1:], wanted.shape[1:], strict=True)
    )


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype} ({', '.join('N' if size == -1 else str(size) for size in tensor.shape)})"
        for tensor in tensors[:4]
    )


def _told(error: Exception) -> str:
    """`[ONNXRuntimeError] : 1 : FAIL : what happened` -> what happened, on one line."""
    text = " ".join(str(error).split())
    return text.split(" : ", 3)[-1][:300]
