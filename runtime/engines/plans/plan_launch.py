"""Starting a plan's engine: a context for each profile, and for a batch size that comes again one of its own.

A CUDA graph holds the state of the context that it was captured from, shapes and addresses: NVIDIA's advice is one
context a graph, all of them in the same memory, and no change to a context after its capture (TensorRT, Best Practices,
"CUDA Graphs"; the same in TensorRT for RTX, which captures by itself and again whenever a shape changes).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lstn.contract import PIXELS
from lstn.errors import DeviceError, LstnError
from lstn.runtime.engines.cuda.cuda_seam import Address, Cuda, Graph, Stream
from lstn.runtime.engines.plans.kernels import KernelCache
from lstn.runtime.engines.plans.plan_loading import Log, Profile

MAX_OWN = 32
"""Batch sizes with a context of their own; a context holds host memory, and few loads have more sizes than that."""


@dataclass(frozen=True, slots=True)
class LaunchBuffers:
    """Where contexts work: on one stream, one after the other, and so in the same memory.

    addresses: of every input and output
    scratch:   of the activations, and how many bytes
    """

    stream: Stream
    addresses: dict[str, Address]
    scratch: tuple[Address, int]


@dataclass(slots=True)
class _Lane:
    """A context, the batch size that it is set to (0 at first), and the graph that was captured from it."""

    context: Any
    rows: int = 0
    graph: Graph | None = None


class Launcher:
    """Starts the engine at any batch size that a profile holds. Nothing else may run on its stream meanwhile."""

    def __init__(
        self,
        path: Path,
        trt: Any,
        engine: Any,
        profiles: tuple[Profile, ...],
        *,
        image_hw: tuple[int, int],
        cuda: Cuda,
        place: LaunchBuffers,
        log: Log,
    ) -> None:
        """Nothing yet: `open` takes what `close` gives back."""
        self._path = path
        self._trt = trt
        self._engine = engine
        self._shape = (*image_hw, 3)
        self._cuda = cuda
        self._place = place
        self._log = log
        self._captures_itself = hasattr(trt, "CudaGraphStrategy")
        self._kernels = KernelCache(trt, log)
        self._profiles = profiles
        self._common: dict[int, _Lane] = {}
        self._own: dict[int, _Lane] = {}
        self._most_own = MAX_OWN
        self._seen: set[int] = set()

    def open(self) -> None:
        """Make a context for each profile.

        Raises:
            DeviceError: TensorRT makes none.
        """
        for profile in self._profiles:
            self._common[profile.index] = _Lane(self._new_context(profile.index))

    def prepare(self, profile: int, rows: int) -> Callable[[], None]:
        """Return what starts `rows` images, on what stands in the input by then; it raises DeviceError if it can't.

        The second time that a batch size comes, this computes once what stands in the input, and captures.
        """
        lane = self._own.get(rows)
        if lane is None and rows in self._seen and len(self._own) < self._most_own:
            lane = self._own[rows] = self._new_lane(profile, rows)
        self._seen.add(rows)
        return partial(self._start, lane or self._common[profile], rows)

    def context_of(self, profile: int) -> Any:
        """Return the context that runs all batch sizes of a profile from now on, and none of them by a graph."""
        self._most_own = 0
        self._forget_own()
        return self._common[profile].context

    def close(self) -> None:
        """Let go of graphs, contexts and the engine, once nothing runs any more, and keep what RTX compiled."""
        self._forget_own()
        self._common.clear()
        self._kernels.keep()
        self._engine = None

    def _forget_own(self) -> None:
        with suppress(LstnError):  # a context may not go while it works
            self._cuda.synchronize(self._place.stream)
        for lane in self._own.values():
            if lane.graph is not None:
                self._cuda.destroy_graph(lane.graph)
        self._own.clear()

    def _new_lane(self, profile: int, rows: int) -> _Lane:
        """Return a lane that never sees another batch size, or the common one where that can't be had."""
        if not (self._captures_itself or self._cuda.graphs):
            return self._common[profile]
        lane = _Lane(None)
        try:
            lane.context = self._new_context(profile, repeats=True)
            self._enqueue(lane, rows)  # settles what a new shape leaves open, which no capture can
            if not self._captures_itself:
                lane.graph = self._cuda.capture(self._place.stream, partial(self._execute, lane))
        except DeviceError:
            with suppress(LstnError):
                self._cuda.synchronize(self._place.stream)
            return self._common[profile]
        return lane

    def _new_context(self, profile: int, *, repeats: bool = False) -> Any:
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._captures_itself:
            config = self._engine.create_runtime_config()
            if config is None:
                raise self._failed("can't make a runtime configuration")
            config.set_execution_context_allocation_strategy(strategy)
            # Or threads of its own compile, and log, while whoever closes the engine holds Python's lock and waits for
            # them; and the first answers of a batch size come from slower kernels.
            eager = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
            config.dynamic_shapes_kernel_specialization_strategy = eager
            self._kernels.share(config)
            if repeats:
                config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self._failed("can't make an execution context", hint="free GPU memory")
        context.set_device_memory(*self._place.scratch)
        if not context.set_optimization_profile_async(profile, self._place.stream):
            raise self._failed(f"refuses its profile {profile}")
        for name, address in self._place.addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._failed(f"refuses memory for {name}")
        return context

    def _start(self, lane: _Lane, rows: int) -> None:
        if lane.graph is not None:
            try:
                self._cuda.launch(lane.graph, self._place.stream)
                return
            except DeviceError:  # what it would have done is done without it, now and from now on
                self._cuda.destroy_graph(lane.graph)
                lane.graph = None
        self._enqueue(lane, rows)

    def _enqueue(self, lane: _Lane, rows: int) -> None:
        if lane.rows != rows:
            lane.rows = 0
            if not lane.context.set_input_shape(PIXELS, (rows, *self._shape)):
                raise self._failed(f"refuses pixels of shape {(rows, *self._shape)}")
            lane.rows = rows
        self._execute(lane)

    def _execute(self, lane: _Lane) -> None:
        if not lane.context.execute_async_v3(self._place.stream):
            raise self._failed("can't run")

    def _failed(self, what: str, *, hint: str = "") -> DeviceError:
        return DeviceError(f"{self._path}: TensorRT {what}: {self._log.text()}", hint=hint)
