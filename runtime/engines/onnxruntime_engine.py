"""ONNX Runtime, on a CPU or a CUDA GPU."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc, check_sees
from lstn.errors import DeviceError, LstnError, MissingExtra
from lstn.formats.described import check_tensors
from lstn.formats.onnx_file import read_model
from lstn.formats.onnx_session import Arrays, OnnxSession
from lstn.images import Pixels
from lstn.imports import require
from lstn.install import install_line
from lstn.machine.gpu import Device, find_gpus
from lstn.nvidia_driver import CUDA_PROVIDER, extra_for, find_driver
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.cuda.cuda_opening import open_cuda
from lstn.runtime.engines.cuda.cuda_seam import Cuda
from lstn.runtime.engines.cuda.page_locked import PageLockedRows
from lstn.runtime.engines.prediction import Prediction, check_pixels, check_prediction, check_rows
from lstn.runtime.engines.slots import SLOTS, Slots, open_slots
from lstn.terminal import warn

MAX_BATCH = 1024
"""The model itself takes any; this many images of 224 x 224 are 150 MB, and their activations gigabytes."""


class OnnxEngine(Engine):
    """An ONNX model in a session of ONNX Runtime."""

    def __init__(self, path: Path, contract: Contract, session: OnnxSession, *, on_gpu: bool = False) -> None:
        self.contract = contract
        self.max_batch = MAX_BATCH
        self.on_gpu = on_gpu
        self._path = path
        self._session = session
        self._outputs = [LOGITS] if contract.loc is Loc.NONE else [LOGITS, THETA]

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, …) float32; see `Engine.infer`."""
        check_pixels(pixels, self.contract, self.max_batch)
        return self._prediction(self._session.run({PIXELS: pixels}, self._outputs), len(pixels))

    def slots(self, rows: int, *, most: int = SLOTS) -> AbstractContextManager[Slots]:
        """Open slots; see `Engine.slots`. Their rows are bound to the session, on a GPU page-locked ones.

        ONNX Runtime computes while somebody waits for the answer, and other slots are filled meanwhile.
        """
        check_rows(rows, self.max_batch)
        cuda = _page_locking() if self.on_gpu else None
        shape = (rows, *self.contract.image_hw, 3)
        return open_slots(lambda: _OnnxSlot(shape, cuda, self._bound), most=most)

    def _bound(self, pixels: Pixels) -> Callable[[], Prediction]:
        run = self._session.bind(PIXELS, pixels, self._outputs)
        return lambda: self._prediction(run(), len(pixels))

    def _prediction(self, answers: Arrays, count: int) -> Prediction:
        logits, *theta = answers
        prediction = Prediction(logits, theta[0] if theta else None)
        return check_prediction(prediction, self.contract, count, source=str(self._path))


class _OnnxSlot:
    """`lstn.runtime.engines.slots.SlotWork` of a session, which computes in `finish`."""

    def __init__(
        self, shape: tuple[int, ...], cuda: Cuda | None, bind: Callable[[Pixels], Callable[[], Prediction]]
    ) -> None:
        self._locked = None if cuda is None else PageLockedRows(cuda, shape)
        self.pixels: Pixels = np.zeros(shape, np.uint8) if self._locked is None else self._locked.pixels
        self._bind = bind
        self._bound: tuple[int, Callable[[], Prediction]] | None = None

    def start(self, count: int) -> None:
        """See `SlotWork`."""

    def finish(self, count: int) -> Prediction:
        """See `SlotWork`."""
        if self._bound is None or self._bound[0] != count:
            self._bound = count, self._bind(self.pixels[:count])
        return self._bound[1]()

    def cancel(self) -> None:
        """See `SlotWork`."""

    def close(self) -> None:
        """See `SlotWork`."""
        self._bound = None
        if self._locked is not None:
            self._locked.close()


def _page_locking() -> Cuda | None:
    """Return CUDA's calls, or None where no package makes them: then memory is not page-locked, and copied slower."""
    try:
        return open_cuda(extra="gpu")
    except LstnError:
        return None


@contextmanager
def open_onnx(path: Path, *, device: Device, threads: int | None, spin: bool) -> Iterator[Engine]:
    """Open an ONNX file of lstn. See `open_engine` for the arguments.

    Raises:
        ArtifactError: no ONNX file, not one of lstn, with weights in other files, or one that ONNX Runtime can't run.
        DeviceError: `device` is cuda, and there is no GPU or ONNX Runtime can't use it.
        MissingExtra: no ONNX Runtime, or one without CUDA.
    """
    contract = check_onnx(path)
    check_sees(contract.task, path)
    chosen = resolve_device(device)
    session = OnnxSession(path, cuda=chosen is Device.CUDA, threads=threads, spin=spin)
    problem = session.cuda_problem  # ONNX Runtime goes on without by itself
    if problem is not None:
        if device is Device.CUDA:
            raise problem
        warn(f"{problem.message}; the model runs on the CPU; {problem.hint}")
    try:
        yield OnnxEngine(path, contract, session, on_gpu=chosen is Device.CUDA and problem is None)
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
