"""TensorRT and TensorRT for RTX: a plan on the first GPU.

Written for TensorRT 10.1 to 11 and TensorRT for RTX 1, whose Python API is the same as far as it is used, but for who
captures CUDA graphs (`lstn.runtime.engines.plans.plan_launch`).
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from lstn.errors import LstnError, closed_engine
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.cuda.cuda_opening import open_cuda
from lstn.runtime.engines.cuda.device_pixels import AnyPixels, DevicePixels, read_pixels
from lstn.runtime.engines.plans.kernels import KernelCache
from lstn.runtime.engines.plans.loaded_plan import LoadedPlan
from lstn.runtime.engines.plans.plan_loading import load_engine, log_of, profiles_of
from lstn.runtime.engines.plans.plan_slot import PlanSlot
from lstn.runtime.engines.plans.preflight import check_plan, load_library
from lstn.runtime.engines.prediction import Prediction, check_rows, joined
from lstn.runtime.engines.slots import SLOTS, Slots, open_slots

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
    opened = PlanEngine(_loaded(path))
    try:
        yield opened
    finally:
        opened.close()


def _loaded(path: Path) -> LoadedPlan:
    sidecar = check_plan(path)
    trt = load_library(path, sidecar)
    cuda, log = open_cuda(extra=sidecar.flavour.value), log_of(trt)
    log.lines.clear()
    with cuda.current():
        engine = load_engine(path, sidecar, trt, log)
        return LoadedPlan(path, sidecar.contract, trt, engine, profiles_of(engine), cuda, log, KernelCache(trt, log))


class PlanEngine(Engine):
    """A plan, with memory and graphs for each batch that is under way.

    Beyond what an `Engine` promises, `infer` takes any number of images, and images on the GPU, and threads may share
    it: they take turns. Slots are each for themselves.
    """

    on_gpu = True

    def __init__(self, plan: LoadedPlan) -> None:
        self.contract = plan.contract
        self.max_batch = plan.max_batch
        self.prepared = plan.prepared
        self._path = plan.path
        self._plan: LoadedPlan | None = plan
        self._slot: PlanSlot | None = None
        self._turn = threading.Lock()

    def infer(self, pixels: AnyPixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB -> logits (N, K) float32, theta (N, …) float32; see `Engine.infer`.

        Images on GPU 0, C-contiguous, with DLPack or `__cuda_array_interface__`, are not copied through the host.
        """
        with self._turn:
            slot, source = self._begun(pixels)
            return joined([self._answer(slot, source, *piece) for piece in self._pieces(source)])

    def slots(self, rows: int, *, most: int = SLOTS) -> AbstractContextManager[Slots]:
        """Open slots; see `Engine.slots`. Each has page-locked rows, memory on the GPU, a stream and its own graphs."""
        check_rows(rows, self.max_batch)
        plan = self._opened()
        return open_slots(lambda: PlanSlot(plan, rows), most=most)

    def device_ms(self, pixels: AnyPixels) -> float:
        """Return the milliseconds that the GPU takes for what `infer` computes, without any copy.

        The mean over LAUNCHES of them back to back: a single one would be timed with the GPU's wait for the host.
        """
        with self._turn:
            slot, source = self._begun(pixels)
            return sum(self._ms(slot, source, *piece) for piece in self._pieces(source))

    def context_to_profile(self, count: int) -> Any:
        """Return the IExecutionContext that computes `count` images from now on, without a graph, for a profiler.

        count: at most max_batch
        """
        with self._turn:
            plan, slot = self._opened(), self._own_slot()
            with plan.cuda.current():
                return slot.launcher.context_of(count)

    def close(self) -> None:
        """Let go of everything, even while somebody still holds the engine."""
        with self._turn, ExitStack() as last:
            plan, self._plan = self._plan, None
            slot, self._slot = self._slot, None
            if plan is None:
                return
            with suppress(LstnError):
                last.enter_context(plan.cuda.current())
            if slot is not None:
                slot.close()
            plan.kernels.keep()

    def _answer(self, slot: PlanSlot, source: Pixels | DevicePixels, start: int, count: int) -> Prediction:
        if isinstance(source, DevicePixels):
            slot.start_on_gpu(source, start, count)
        else:
            slot.pixels[:count] = source[start : start + count]
            slot.start(count)
        return slot.finish(count)

    def _ms(self, slot: PlanSlot, source: Pixels | DevicePixels, start: int, count: int) -> float:
        if not isinstance(source, DevicePixels):
            slot.pixels[:count] = source[start : start + count]
            return slot.device_ms(None, 0, count, launches=LAUNCHES)
        return slot.device_ms(source, start, count, launches=LAUNCHES)

    def _pieces(self, source: Pixels | DevicePixels) -> list[tuple[int, int]]:
        """Return the first image of each piece that is computed at once, and how many there are in it."""
        whole = source.count if isinstance(source, DevicePixels) else len(source)
        return [(start, min(self.max_batch, whole - start)) for start in range(0, whole, self.max_batch)]

    def _begun(self, pixels: AnyPixels) -> tuple[PlanSlot, Pixels | DevicePixels]:
        """Return the slot of `infer`, and the images, which its stream can read from now on."""
        plan, slot = self._opened(), self._own_slot()
        with plan.cuda.current():
            return slot, read_pixels(pixels, self.contract, plan.cuda, slot.stream)

    def _own_slot(self) -> PlanSlot:
        """Return the slot of `infer`, which is made when it is first needed: whoever opens slots may never need it."""
        if self._slot is None:
            self._slot = PlanSlot(self._opened(), self.max_batch)
        return self._slot

    def _opened(self) -> LoadedPlan:
        if self._plan is None:
            raise closed_engine(self._path)
        return self._plan
