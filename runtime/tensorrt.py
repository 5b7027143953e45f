"""TensorRT and TensorRT for RTX: a plan on the first GPU.

Both libraries log and return None or False where others raise; here every such answer becomes an error. Written for
TensorRT 10 and 11 and TensorRT for RTX 1, whose Python API is the same as far as it is used.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.errors import ArtifactError, DeviceError, LstnError
from lstn.images import Pixels
from lstn.plan import Sidecar
from lstn.runtime.cuda import Address, Cuda
from lstn.runtime.engine import Engine, Prediction, check_pixels, check_prediction
from lstn.runtime.preflight import check_plan, load_library, rebuild


@contextmanager
def open_plan(path: Path) -> Iterator[Engine]:
    """Open a plan, and free everything that it took at the end, or when opening fails halfway.

    Raises:
        ArtifactError: damaged, without its sidecar, or built for another GPU or by another version of TensorRT.
        DeviceError: no NVIDIA GPU here, or CUDA failed.
        MissingExtra: the TensorRT that built it, or cuda-python, isn't installed.
    """
    sidecar = check_plan(path)
    trt = load_library(path, sidecar)
    cuda = Cuda(extra=sidecar.flavour.value)
    with ExitStack() as resources:
        yield _open(path, sidecar, trt, cuda, resources)


class PlanEngine:
    """A plan in an execution context, with memory for its largest batch on the GPU and a stream of its own."""

    def __init__(
        self,
        path: Path,
        contract: Contract,
        *,
        batch: tuple[int, int],
        context: Any,
        cuda: Cuda,
        stream: int,
        buffers: dict[str, Address],
        log: "_Log",
    ) -> None:
        """Take over what `_open` made. batch: the smallest and the largest that the profile allows."""
        self.contract = contract
        self.max_batch = batch[1]
        self._min_batch = batch[0]
        self._path = path
        self._context = context
        self._cuda = cuda
        self._stream = stream
        self._buffers = buffers
        self._log = log

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, 2, 3) float32; see `Engine.infer`."""
        check_pixels(pixels, self.contract, self.max_batch)
        count = len(pixels)
        rows = max(count, self._min_batch)
        if rows > count:  # the profile has a floor: black images fill up, and their answers are cut off
            pixels = np.concatenate([pixels, np.zeros((rows - count, *pixels.shape[1:]), np.uint8)])
        pixels = np.ascontiguousarray(pixels)
        answers = {name: np.empty((rows, *shape), np.float32) for name, shape in outputs_of(self.contract).items()}
        if not self._context.set_input_shape(PIXELS, pixels.shape):
            raise self._failed(f"refuses pixels of shape {pixels.shape}")
        self._cuda.copy_in(self._buffers[PIXELS], pixels, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise self._failed("can't run")
        for name, answer in answers.items():
            self._cuda.copy_out(answer, self._buffers[name], self._stream)
        self._cuda.synchronize(self._stream)
        theta = answers.get(THETA)
        prediction = Prediction(answers[LOGITS][:count], None if theta is None else theta[:count])
        return check_prediction(prediction, self.contract, count, source=str(self._path))

    def close(self) -> None:
        """Let go of the context, which keeps the engine alive, once nothing runs in it any more."""
        with suppress(LstnError):  # after a fault every call fails, and the fault itself was told already
            self._cuda.synchronize(self._stream)
        self._context = None

    def _failed(self, what: str) -> DeviceError:
        return DeviceError(f"{self._path}: TensorRT {what}: {self._log.text()}")


def outputs_of(contract: Contract) -> dict[str, tuple[int, ...]]:
    """Return name -> shape without the batch of what a model of this contract answers, all float32."""
    logits: dict[str, tuple[int, ...]] = {LOGITS: (len(contract.labels),)}
    return logits if contract.loc is Loc.NONE else logits | {THETA: (2, 3)}


def _open(path: Path, sidecar: Sidecar, trt: Any, cuda: Cuda, resources: ExitStack) -> PlanEngine:
    """Load a plan and allocate once, for its largest batch; `resources` gives back in the opposite order."""
    log = _log(trt)
    log.lines.clear()
    engine = _deserialize(path, sidecar, trt, log)
    contract = sidecar.contract
    batch = _check_engine(path, trt, engine, contract)
    context = engine.create_execution_context()
    if context is None:
        raise DeviceError(f"{path}: TensorRT can't make an execution context: {log.text()}", hint="free GPU memory")
    stream = cuda.new_stream()
    resources.callback(cuda.destroy_stream, stream)
    height, width = contract.image_hw
    sizes = {PIXELS: height * width * 3}
    sizes |= {name: 4 * int(np.prod(shape)) for name, shape in outputs_of(contract).items()}
    buffers: dict[str, Address] = {}
    for name, size in sizes.items():
        buffers[name] = cuda.allocate(batch[1] * size)
        resources.callback(cuda.free, buffers[name])
        if not context.set_tensor_address(name, buffers[name]):
            raise DeviceError(f"{path}: TensorRT refuses memory for {name}: {log.text()}")
    opened = PlanEngine(
        path, contract, batch=batch, context=context, cuda=cuda, stream=stream, buffers=buffers, log=log
    )
    resources.callback(opened.close)
    return opened


def _deserialize(path: Path, sidecar: Sidecar, trt: Any, log: "_Log") -> Any:
    """Return the engine, which keeps its runtime alive."""
    if hasattr(trt, "init_libnvinfer_plugins"):  # TensorRT for RTX has no plugins
        trt.init_libnvinfer_plugins(log, "")
    runtime = trt.Runtime(log)
    data = path.read_bytes()
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        why = ", ".join(_diagnoses(trt, runtime, data)) or log.text()
        raise ArtifactError(
            f"{path}: {sidecar.flavour.product} {trt.__version__} can't load it: {why}",
            hint=f"rebuild it with: {rebuild(sidecar.flavour)}",
        )
    return engine


def _diagnoses(trt: Any, runtime: Any, data: bytes) -> list[str]:
    """Only TensorRT for RTX can say why it refuses a plan."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, reasons = runtime.get_engine_validity(data)
    named = trt.EngineInvalidityDiagnostics.__members__
    return [name.lower().replace("_", " ") for name, bit in named.items() if int(reasons) & int(bit)]


def _check_engine(path: Path, trt: Any, engine: Any, contract: Contract) -> tuple[int, int]:
    """Return the smallest and largest batch of an engine whose inputs and outputs are those of the contract."""
    height, width = contract.image_hw
    wanted: dict[str, tuple[str, str, tuple[int, ...]]] = {PIXELS: ("INPUT", "UINT8", (height, width, 3))}
    wanted |= {name: ("OUTPUT", "FLOAT", shape) for name, shape in outputs_of(contract).items()}
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        mode, dtype = engine.get_tensor_mode(name), engine.get_tensor_dtype(name)
        found[name] = (mode.name, dtype.name, tuple(engine.get_tensor_shape(name))[1:])
    if found != wanted:
        raise ArtifactError(
            f"{path}: its inputs and outputs are {found}; its contract says {wanted}",
            hint="rebuild it with: lstn export",
        )
    smallest, _, largest = engine.get_tensor_profile_shape(PIXELS, 0)
    return int(smallest[0]), int(largest[0])


@cache
def _log(trt: Any) -> "_Log":
    """Return the logger of a TensorRT module. One for the process: TensorRT keeps the first and warns of any other."""

    class Log(_Log, trt.ILogger):  # type: ignore[misc]  # of a package that may be missing
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            _Log.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.ERROR):
                self.lines.append(" ".join(message.split()))

    return Log()


class _Log:
    """The last errors that TensorRT told, oldest first."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=20)

    def text(self) -> str:
        return "; ".join(dict.fromkeys(self.lines))[:600] or "it gave no reason"
