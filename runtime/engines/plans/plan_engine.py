"""TensorRT and TensorRT for RTX: a plan on the first GPU.

Written for TensorRT 10.1 to 11 and TensorRT for RTX 1, whose Python API is the same as far as it is used, but for who
captures CUDA graphs (`lstn.runtime.engines.plans.plan_launch`).
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, PIXELS, THETA, Contract
from lstn.errors import DeviceError, LstnError
from lstn.formats.plan_file import Sidecar
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.cuda.cuda_opening import open_cuda
from lstn.runtime.engines.cuda.cuda_seam import (
    Address,
    Bytes,
    Cuda,
    Event,
    Stream,
)
from lstn.runtime.engines.cuda.device_pixels import AnyPixels, DevicePixels, read_pixels
from lstn.runtime.engines.plans.plan_launch import LaunchBuffers, Launcher
from lstn.runtime.engines.plans.plan_loading import Log, Profile, choose, load_engine, log_of, outputs_of, profiles_of
from lstn.runtime.engines.plans.preflight import check_plan, load_library
from lstn.runtime.engines.prediction import Prediction, check_prediction

LAUNCHES = 20
"""How often `PlanEngine.device_ms` starts the model."""


@contextmanager
def open_plan(path: Path) -> Iterator["PlanEngine"]:
    """Open a plan, and free everything that it took at the end, or when opening fails halfway.

    Raises:
        ArtifactError: damaged, without its sidecar, or built for another GPU or by another version of TensorRT.
        DeviceError: no NVIDIA GPU here, or CUDA failed.
        MissingExtra: the TensorRT that built it isn't installed, or neither cuda-python nor pycuda is.
    """
    sidecar = check_plan(path)
    trt = load_library(path, sidecar)
    cuda = open_cuda(extra=sidecar.flavour.value)
    resources = ExitStack()
    try:
        with cuda.current():
            engine = _open(path, sidecar, trt, cuda, resources)
        yield engine
    finally:
        with ExitStack() as last:
            with suppress(LstnError):
                last.enter_context(cuda.current())
            resources.close()


@dataclass(frozen=True, slots=True)
class _Buffer:
    """Memory for one input or output at the largest batch: on the GPU, and page-locked on the host."""

    device: Address
    host: Bytes
    row_bytes: int


@dataclass(frozen=True, slots=True)
class _Works:
    """What an open engine runs with. clock: the events before and after a timed run."""

    profiles: tuple[Profile, ...]
    launcher: Launcher
    cuda: Cuda
    stream: Stream
    clock: tuple[Event, Event]
    buffers: dict[str, _Buffer]
    log: Log


class PlanEngine(Engine):
    """A plan with memory for its largest batch on both sides, a stream of its own, and graphs where they can be had.

    Beyond what an `Engine` promises it takes any number of images, and images on the GPU, and threads may share it:
    they take turns.
    """

    captures = True

    def __init__(self, path: Path, contract: Contract, works: _Works) -> None:
        self.contract = contract
        self.max_batch = max(profile.largest for profile in works.profiles)
        self._path = path
        self._works: _Works | None = works
        self._turn = threading.Lock()

    def infer(self, pixels: AnyPixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, …) float32; see `Engine.infer`.

        Images on GPU 0, C-contiguous, with DLPack or `__cuda_array_interface__`, are not copied through the host.
        """
        return self._run(pixels)[0]

    def device_ms(self, pixels: AnyPixels) -> float:
        """Return the milliseconds that the GPU takes for what `infer` computes, without any copy.

        The mean over LAUNCHES of them back to back: a single one would be timed with the GPU's wait for the host.
        """
        return self._run(pixels, launches=LAUNCHES)[1]

    def context_to_profile(self, count: int) -> Any:
        """Return the IExecutionContext that computes `count` images from now on, without a graph, for a profiler.

        count: at most max_batch
        """
        works = self._opened()
        with self._turn, works.cuda.current():
            return works.launcher.context_of(choose(works.profiles, count)[0])

    def close(self) -> None:
        """Let go of everything, even while somebody still holds the engine."""
        with self._turn:
            works, self._works = self._works, None
            if works is not None:
                works.launcher.close()

    def _run(self, pixels: AnyPixels, *, launches: int = 0) -> tuple[Prediction, float]:
        with self._turn:
            works = self._opened()
            works.log.lines.clear()
            with works.cuda.current():
                try:
                    source = read_pixels(pixels, self.contract, works.cuda, works.stream)
                    count = source.count if isinstance(source, DevicePixels) else len(source)
                    shapes = outputs_of(self.contract)
                    answers = {name: np.empty((count, *shape), np.float32) for name, shape in shapes.items()}
                    taken_ms = 0.0
                    for start in range(0, count, self.max_batch):
                        stop = min(start + self.max_batch, count)
                        taken_ms += _run_piece(works, source, start, stop, answers, launches=launches)
                except BaseException:
                    with suppress(LstnError):  # the GPU may still read what the caller frees next
                        works.cuda.synchronize(works.stream)
                    raise
        prediction = Prediction(answers[LOGITS], answers.get(THETA))
        return check_prediction(prediction, self.contract, count, source=str(self._path)), taken_ms

    def _opened(self) -> _Works:
        if self._works is None:
            raise DeviceError(f"{self._path}: this engine is closed", hint="use it within its with block")
        return self._works


def _run_piece(
    works: _Works,
    source: Pixels | DevicePixels,
    start: int,
    stop: int,
    answers: dict[str, npt.NDArray[np.float32]],
    *,
    launches: int,
) -> float:
    """Fill `answers` from `start` to `stop`; return the GPU's milliseconds for one of further launches, or 0 for none.

    The launch that answers goes before them, and warms up.
    """
    cuda, stream = works.cuda, works.stream
    profile, rows = choose(works.profiles, stop - start)
    _load(works, source, start, stop)  # rows beyond, where a profile has a floor, hold what was there: nobody reads on
    run = works.launcher.prepare(profile, rows)
    run()
    if launches:
        cuda.record(works.clock[0], stream)
        for _ in range(launches):
            run()
        cuda.record(works.clock[1], stream)
    filled = {}
    for name in answers:
        buffer = works.buffers[name]
        filled[name] = buffer.host[: (stop - start) * buffer.row_bytes]
        cuda.copy_out(filled[name], buffer.device, stream)
    cuda.synchronize(stream)
    for name, answer in answers.items():
        answer[start:stop] = filled[name].view(np.float32).reshape(answer[start:stop].shape)
    return cuda.elapsed_ms(*works.clock) / launches if launches else 0.0


def _load(works: _Works, source: Pixels | DevicePixels, start: int, stop: int) -> None:
    buffer = works.buffers[PIXELS]
    size = (stop - start) * buffer.row_bytes
    if isinstance(source, DevicePixels):
        works.cuda.copy_over(buffer.device, source.address + start * buffer.row_bytes, size, works.stream)
        return
    staging = buffer.host[:size]
    staging.reshape(source[start:stop].shape)[...] = source[start:stop]
    works.cuda.copy_in(buffer.device, staging, works.stream)


def _open(path: Path, sidecar: Sidecar, trt: Any, cuda: Cuda, resources: ExitStack) -> PlanEngine:
    """Load a plan and allocate once, for its largest batch; `resources` gives back in the opposite order."""
    log = log_of(trt)
    log.lines.clear()
    contract = sidecar.contract
    engine = load_engine(path, sidecar, trt, log)
    profiles = profiles_of(engine)
    stream = cuda.new_stream()
    resources.callback(cuda.destroy_stream, stream)
    clock = (_new_event(cuda, resources), _new_event(cuda, resources))
    largest = max(profile.largest for profile in profiles)
    row_bytes = {PIXELS: int(np.prod((*contract.image_hw, 3)))}
    row_bytes |= {name: 4 * int(np.prod(shape)) for name, shape in outputs_of(contract).items()}
    buffers = {name: _new_buffer(cuda, resources, largest, size) for name, size in row_bytes.items()}
    scratch = max(1, int(engine.device_memory_size_v2))
    address = cuda.allocate(scratch)
    resources.callback(cuda.free, address)
    place = LaunchBuffers(stream, {name: buffer.device for name, buffer in buffers.items()}, (address, scratch))
    launcher = Launcher(path, trt, engine, profiles, image_hw=contract.image_hw, cuda=cuda, place=place, log=log)
    opened = PlanEngine(path, contract, _Works(profiles, launcher, cuda, stream, clock, buffers, log))
    resources.callback(opened.close)
    launcher.open()
    return opened


def _new_event(cuda: Cuda, resources: ExitStack) -> Event:
    event = cuda.new_event()
    resources.callback(cuda.destroy_event, event)
    return event


def _new_buffer(cuda: Cuda, resources: ExitStack, rows: int, row_bytes: int) -> _Buffer:
    device = cuda.allocate(rows * row_bytes)
    resources.callback(cuda.free, device)
    host = cuda.pin(rows * row_bytes)
    resources.callback(cuda.unpin, host)
    return _Buffer(device, host, row_bytes)
