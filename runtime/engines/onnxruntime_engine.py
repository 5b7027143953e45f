"""ONNX Runtime, on a CPU or a CUDA GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import DeviceError, MissingExtra
from lstn.formats.described import check_tensors
from lstn.formats.onnx_file import read_model
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.imports import require
from lstn.install import install_line
from lstn.machine.gpu import Device, find_gpus
from lstn.nvidia_driver import CUDA_PROVIDER, extra_for, find_driver
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction, check_pixels, check_prediction
from lstn.terminal import warn

MAX_BATCH = 1024
"""The model itself takes any; this many images of 224 x 224 are 150 MB, and their activations gigabytes."""


class OnnxEngine(Engine):
    """An ONNX model in a session of ONNX Runtime."""

    def __init__(self, path: Path, contract: Contract, session: OnnxSession) -> None:
        self.contract = contract
        self.max_batch = MAX_BATCH
        self._path = path
        self._session = session
        self._outputs = [LOGITS] if contract.loc is Loc.NONE else [LOGITS, THETA]

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, …) float32; see `Engine.infer`."""
        check_pixels(pixels, self.contract, self.max_batch)
        logits, *theta = self._session.run({PIXELS: pixels}, self._outputs)
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
    chosen = resolve_device(device)
    session = OnnxSession(path, cuda=chosen is Device.CUDA, threads=threads, spin=spin)
    problem = session.cuda_problem  # ONNX Runtime goes on without by itself
    if problem is not None:
        if device is Device.CUDA:
            raise problem
        warn(f"{problem.message}; the model runs on the CPU; {problem.hint}")
    try:
        yield OnnxEngine(path, contract, session)
    finally:
        session.close()


def check_onnx(path: Path) -> Contract:
    """Return the contract of an ONNX file whose inputs and outputs are those that it describes.

    Raises:
        ArtifactError: what `read_model` refuses, or other inputs and outputs.
    """
    contract, onnx = read_model(path)
    check_tensors(path, contract, onnx.inputs, onnx.outputs)
    return contract


def resolve_device(device: Device) -> Device:
    """Return cpu or cuda: what `device` stands for on this machine, with the ONNX Runtime that is installed.

    Raises:
        DeviceError: cuda is wanted, and no GPU is there.
        MissingExtra: no ONNX Runtime, or cuda is wanted and it was built without it.
    """
    ort = require("onnxruntime", extra="runtime")
    gpu, built_in = bool(find_gpus()), CUDA_PROVIDER in ort.get_available_providers()
    if device is Device.AUTO:
        return Device.CUDA if gpu and built_in else Device.CPU
    if device is Device.CUDA and not gpu:
        raise DeviceError("--device cuda: this machine shows no NVIDIA GPU", hint="leave it out, or use --device cpu")
    if device is Device.CUDA and not built_in:
        cure = f"pip uninstall -y onnxruntime && {install_line(extra_for('gpu', find_driver()))}"
        raise MissingExtra("this ONNX Runtime can't use a GPU", hint=f"run: {cure}")
    return device
