"""Starting a plan's engine in one slot: a context for each profile, and one for each batch size that comes again.

A CUDA graph holds the state of the context that it was captured from, shapes and addresses: NVIDIA's advice is one
context a graph, all of them in the same memory, and no change to a context after its capture (TensorRT, Best Practices,
"CUDA Graphs"; the same in TensorRT for RTX, which captures by itself and again whenever a shape changes).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from lstn.contract import PIXELS
from lstn.errors import DeviceError, LstnError
from lstn.runtime.engines.cuda.cuda_seam import Graph
from lstn.runtime.engines.plans.loaded_plan import LoadedPlan
from lstn.runtime.engines.plans.plan_loading import choose
from lstn.runtime.engines.plans.slot_memory import SlotMemory


@dataclass(slots=True)
class _Lane:
    """A context, the batch size that it is set to (0 at first), and the graph that was captured from it.

    own: whether it never sees another batch size
    """

    context: Any
    rows: int = 0
    graph: Graph | None = None
    own: bool = False


class Launcher:
    """Starts the engine in one slot's memory, on its stream, at any batch size that a profile holds."""

    def __init__(self, plan: LoadedPlan, memory: SlotMemory) -> None:
        """Nothing yet: `open` takes what `close` gives back."""
        self._plan = plan
        self._memory = memory
        self._prepared = plan.prepared
        self._common: dict[int, _Lane] = {}
        self._own: dict[tuple[int, bool], _Lane] = {}
        self._seen: set[tuple[int, bool]] = set()

    def open(self) -> None:
        """Make a context for each profile.

        Raises:
            DeviceError: TensorRT makes none.
        """
        for profile in self._plan.profiles:
            self._common[profile.index] = _Lane(self._new_context(profile.index))

    def start(self, count: int) -> int:
        """Start to copy `count` rows to the GPU, to compute them, and to copy the answers back.

        The second time that a size of `LoadedPlan.prepared` comes, this computes once what stands in the input, and
        captures the three. What lies between two sizes is computed as the larger one from then on.

        Returns: of how many rows the answers are.

        Raises:
            DeviceError: TensorRT or CUDA failed.
        """
        lane, rows = self._lane_for(count, copies=True)
        if not self._launched(lane):
            self._memory.copy_in(count)
            self._enqueue(lane, rows)
            self._memory.copy_out(rows)
        return rows

    def prepare(self, count: int, *, often: bool) -> tuple[int, Callable[[], None]]:
        """Return how many rows are computed for `count` images, and what starts that on what is on the GPU by then.

        often: whether that is called again and again, so that a graph is worth its while at once

        Raises:
            DeviceError: TensorRT or CUDA failed, now or when it is called.
        """
        if often:
            self._lane_for(count, copies=False)
        lane, rows = self._lane_for(count, copies=False)

        def run() -> None:
            if not self._launched(lane):
                self._enqueue(lane, rows)

        return rows, run

    def context_of(self, count: int) -> Any:
        """Return the context that computes `count` images and whatever else its profile holds from now on, by no graph.

        count: at most the largest of all
        """
        self._prepared = ()
        self._forget_own()
        return self._common[choose(self._plan.profiles, count)[0]].context

    def close(self) -> None:
        """Let go of graphs and contexts, once nothing runs any more."""
        self._forget_own()
        self._common.clear()

    def _lane_for(self, count: int, *, copies: bool) -> tuple[_Lane, int]:
        """Return a lane for `count` images, and how many it computes. copies: whether its graph holds those too."""
        padded = next((size for size in self._prepared if size >= count), 0)
        if padded:
            profile, rows = choose(self._plan.profiles, padded)
            key = rows, copies and not self._plan.captures_itself
            if key in self._seen and key not in self._own:
                self._own[key] = self._new_lane(profile, rows, copies=key[1])
            self._seen.add(key)
            if key in self._own and self._own[key].own:
                return self._own[key], rows
        profile, rows = choose(self._plan.profiles, count)
        return self._common[profile], rows

    def _new_lane(self, profile: int, rows: int, *, copies: bool) -> _Lane:
        """Return a lane that never sees another batch size, or the common one where that can't be had."""
        lane = _Lane(None, own=True)
        try:
            lane.context = self._new_context(profile, repeats=True)
            self._enqueue(lane, rows)  # settles what a new shape leaves open, which no capture can
            if not self._plan.captures_itself:
                work = partial(self._with_copies if copies else self._execute, lane)
                lane.graph = self._plan.cuda.capture(self._memory.stream, work)
        except DeviceError:
            with suppress(LstnError):
                self._plan.cuda.synchronize(self._memory.stream)
            return self._common[profile]
        return lane

    def _new_context(self, profile: int, *, repeats: bool = False) -> Any:
        plan, memory = self._plan, self._memory
        with plan.lock:
            context = self._bare_context(repeats=repeats)
        if context is None:
            raise plan.failed("can't make an execution context", hint="free GPU memory")
        context.set_device_memory(*memory.scratch)
        if not context.set_optimization_profile_async(profile, memory.stream):
            raise plan.failed(f"refuses its profile {profile}")
        return context

    def _bare_context(self, *, repeats: bool) -> Any:
        trt, engine = self._plan.trt, self._plan.engine
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._plan.captures_itself:
            return engine.create_execution_context(strategy)
        config = engine.create_runtime_config()
        if config is None:
            raise self._plan.failed("can't make a runtime configuration")
        config.set_execution_context_allocation_strategy(strategy)
        # Or threads of its own compile, and log, while whoever closes the engine holds Python's lock and waits for
        # them; and the first answers of a batch size come from slower kernels.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        self._plan.kernels.share(config)
        if repeats:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return engine.create_execution_context(config)

    def _launched(self, lane: _Lane) -> bool:
        """Launch the graph of a lane, if it has one that works."""
        if lane.graph is None:
            return False
        try:
            self._plan.cuda.launch(lane.graph, self._memory.stream)
        except DeviceError:  # what it would have done is done without it, now and from now on
            self._plan.cuda.destroy_graph(lane.graph)
            lane.graph = None
            return False
        return True

    def _enqueue(self, lane: _Lane, rows: int) -> None:
        if lane.rows != rows:
            lane.rows = 0
            shape = (rows, *self._plan.contract.image_hw, 3)
            if not lane.context.set_input_shape(PIXELS, shape):
                raise self._plan.failed(f"refuses pixels of shape {shape}")
            for name, address in self._memory.addresses(rows).items():
                if not lane.context.set_tensor_address(name, address):
                    raise self._plan.failed(f"refuses memory for {name}")
            lane.rows = rows
        self._execute(lane)

    def _with_copies(self, lane: _Lane) -> None:
        self._memory.copy_in(lane.rows)
        self._execute(lane)
        self._memory.copy_out(lane.rows)

    def _execute(self, lane: _Lane) -> None:
        if not lane.context.execute_async_v3(self._memory.stream):
            raise self._plan.failed("can't run")

    def _forget_own(self) -> None:
        with suppress(LstnError):  # a context may not go while it works
            self._plan.cuda.synchronize(self._memory.stream)
        for lane in self._own.values():
            if lane.graph is not None:
                self._plan.cuda.destroy_graph(lane.graph)
        self._own.clear()
