# ruff: noqa: N802 - the names are NVIDIA's
"""TensorRT and TensorRT for RTX as far as the runtime uses them, computing with NumPy on the GPU of `fake_gpu`.

A call that fails does so the way the real one fails: by returning None, False or a hollow object, or by a TypeError,
with a line in the log. A call that the real one would answer with undefined behaviour is an AssertionError: an address
that was never set, memory that is too small or gone, a graph of a context that changed or is gone, a capture while a
new shape is still to be settled.
No public name here that the real classes lack; `test_fakes.py` compares them.
"""

import weakref
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
from fake_gpu import FakeGpu, Run, Work

SCRATCH_BYTES = 512
ROW_MS = 0.5


class Strategy(Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class GraphStrategy(Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class SpecializationStrategy(Enum):
    LAZY, EAGER, NONE = range(3)


class FakeRuntimeCache:
    """A kernel for each batch size that was computed, compiled when it first was. One for all contexts of an engine."""

    def __init__(self, module: "FakeTensorrt") -> None:
        self._module, self._kernels = module, set[int]()
        module._caches.add(self)

    def serialize(self) -> bytes | None:
        text = " ".join([self._module.__version__, *map(str, sorted(self._kernels))])
        return text.encode() if self._module._works("serialize") else None

    def deserialize(self, blob: bytes) -> bool:
        version, *kernels = blob.decode().split()
        if version != self._module.__version__ or not self._module._works("deserialize"):
            self._module._logger.log(1, f"of {version}")
            return False
        self._kernels = set(map(int, kernels))
        return True


class FakeRuntimeConfig:
    def __init__(self, module: "FakeTensorrt") -> None:
        self._module, self._cache = module, None
        self._strategy, self.cuda_graph_strategy = Strategy.STATIC, GraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = SpecializationStrategy.LAZY

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self._strategy = strategy

    def create_runtime_cache(self) -> FakeRuntimeCache | None:
        return FakeRuntimeCache(self._module) if self._module._works("create_runtime_cache") else None

    def set_runtime_cache(self, cache: FakeRuntimeCache) -> bool:
        assert isinstance(cache, FakeRuntimeCache)
        self._cache = cache if self._module._works("set_runtime_cache") else None
        return self._cache is not None


class FakeContext:
    def __init__(
        self, engine: "FakeEngine", strategy: Strategy, captures: bool, cache: FakeRuntimeCache | None = None
    ) -> None:
        self._cache = None if cache is None else weakref.ref(cache)
        assert strategy is Strategy.USER_MANAGED, "contexts of one engine share their memory"
        self._engine, self._module, self._captures = engine, engine._module, captures
        self._profile, self._shape, self._scratch = -1, (), 0
        self._addresses: dict[str, int] = {}
        self._changes, self._settled, self._shapes = 0, -1, []
        self._module._contexts.add(self)

    @property
    def engine(self) -> "FakeEngine":
        return self._engine

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self._engine.device_memory_size_v2
        self._module._gpu.on_gpu(memory, size)
        self._scratch, self._changes = memory, self._changes + 1

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self._module._gpu.streams
        self._profile, self._shape, self._changes = profile_index, (), self._changes + 1
        return self._module._works("set_optimization_profile_async")

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile >= 0, "no profile"
        low, _, high = self._module._profiles[self._profile]
        assert name == "pixels"
        assert tuple(shape[1:]) == self._module._shapes["pixels"][1:]
        assert low <= shape[0] <= high, f"{shape[0]} images in profile {self._profile}"
        if not self._module._works("set_input_shape"):
            self._shape = ()
            return False
        self._shape, self._changes = tuple(shape), self._changes + 1
        self._shapes.append(shape[0])
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert name in self._module._shapes
        assert memory % 256 == 0
        self._addresses[name], self._changes = memory, self._changes + 1
        return self._module._works("set_tensor_address")

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._module._works("execute_async_v3"):
            return False
        gpu, stream = self._module._gpu, self._module._gpu.streams[stream_handle]
        assert self._shape, "no shape"
        assert set(self._addresses) == set(self._module._shapes), "an address was never set"
        assert stream.recording is None or self._settled == self._changes, "captured before the shape was settled"
        if self._cache is not None:
            cache = self._cache()
            assert cache is not None, "the cache went before the context"
            self._module._compiled += {self._shape[0]} - cache._kernels
            cache._kernels.add(self._shape[0])
        self._settled, changes, alive = self._changes, self._changes, weakref.ref(self)

        def compute() -> None:
            context = alive()
            assert context is not None, "the context went while it worked"
            assert context._changes == changes, "the context changed since this was started or captured"
            context._compute()

        scratch, pixels, size = self._scratch, self._addresses["pixels"], int(np.prod(self._shape))

        def begin() -> Run:
            return gpu.alone(scratch, stream, gpu.unchanged(lambda: gpu.mapped_rows(pixels, size), compute))

        gpu.on_gpu(self._scratch, self._engine.device_memory_size_v2)
        stream.start(Work(begin, "compute", self._module._row_ms * self._shape[0]))
        return True

    def _compute(self) -> None:
        gpu = self._module._gpu
        gpu.on_gpu(self._scratch, self._engine.device_memory_size_v2)[...] += 1
        pixels = gpu.on_gpu(self._addresses["pixels"], int(np.prod(self._shape))).reshape(self._shape)
        for name, answer in self._module._answer(pixels).items():
            gpu.on_gpu(self._addresses[name], answer.nbytes)[...] = np.frombuffer(answer.tobytes(), np.uint8)


class FakeEngine:
    device_memory_size_v2 = SCRATCH_BYTES

    def __init__(self, module: "FakeTensorrt") -> None:
        self._module = module
        self.num_io_tensors = len(module._shapes)
        self.num_optimization_profiles = len(module._profiles)
        if hasattr(module, "CudaGraphStrategy"):
            self.create_runtime_config = self._create_runtime_config

    def _create_runtime_config(self) -> FakeRuntimeConfig | None:
        return FakeRuntimeConfig(self._module) if self._module._works("create_runtime_config") else None

    def create_execution_context(self, strategy: Strategy | FakeRuntimeConfig) -> FakeContext | None:
        if not self._module._works("create_execution_context"):
            return None
        if isinstance(strategy, Strategy):
            return FakeContext(self, strategy, captures=False)
        captures = strategy.cuda_graph_strategy is GraphStrategy.WHOLE_GRAPH_CAPTURE
        specialization = strategy.dynamic_shapes_kernel_specialization_strategy
        assert specialization is SpecializationStrategy.EAGER, "threads of its own compile, and log"
        return FakeContext(self, strategy._strategy, captures, strategy._cache)

    def get_tensor_name(self, index: int) -> str:
        return list(self._module._shapes)[index]

    def get_tensor_mode(self, name: str) -> Enum:
        return FakeTensorrt.TensorIOMode.INPUT if name == "pixels" else FakeTensorrt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Enum:
        return FakeTensorrt.DataType.UINT8 if name == "pixels" else FakeTensorrt.DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._module._shapes[name]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(size, *self._module._shapes[name][1:]) for size in self._module._profiles[profile_index]]


class Hollow:
    """What TensorRT 10.16 and 11.4 return under a driver too old: the process ends with its next use, or its end."""

    freed = 0

    def __del__(self) -> None:
        Hollow.freed += 1

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} of a hollow object: a segmentation fault")

    def __setattr__(self, name: str, value: object) -> None:
        raise AssertionError(f"{name} of a hollow object: a segmentation fault")


class FakeRuntime:
    def __init__(self, module: "FakeTensorrt") -> None:
        self._module, self.engine_host_code_allowed, self.DLA_core = module, False, -1

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> FakeEngine | None:
        assert self._module._host_code == self.engine_host_code_allowed
        assert self._module._dla_core == self.DLA_core
        return FakeEngine(self._module) if self._module._works("deserialize_cuda_engine") else None


class FakeTensorrt:
    """The module. rtx: TensorRT for RTX, which captures graphs itself."""

    ILogger = type("ILogger", (), {"ERROR": 1, "__init__": lambda self: None})
    TensorIOMode = Enum("TensorIOMode", ["INPUT", "OUTPUT"])
    DataType = Enum("DataType", ["UINT8", "FLOAT"])
    ExecutionContextAllocationStrategy = Strategy

    def __init__(
        self,
        gpu: FakeGpu,
        answer: Callable[[np.ndarray], dict[str, np.ndarray]],
        *,
        outputs: dict[str, tuple[int, ...]],
        profiles: Sequence[tuple[int, int, int]],
        version: str,
        rtx: bool,
    ) -> None:
        self.__version__ = version
        self._gpu, self._answer, self._profiles = gpu, answer, profiles
        self._shapes = {"pixels": (-1, 8, 8, 3)} | {name: (-1, *shape) for name, shape in outputs.items()}
        self._contexts: weakref.WeakSet[FakeContext] = weakref.WeakSet()
        self._logger: Any = None
        self._host_code, self._dla_core = False, -1
        self._hollow, self._says = not rtx, ""
        self._caches: weakref.WeakSet[FakeRuntimeCache] = weakref.WeakSet()
        self._compiled: list[int] = []
        self._row_ms = ROW_MS
        if rtx:
            self.CudaGraphStrategy = GraphStrategy
            self.DynamicShapesKernelSpecializationStrategy = SpecializationStrategy

    def _works(self, call: str) -> bool:
        with self._gpu.lock:
            fails = self._gpu.fails_now(call)
        if fails:
            self._logger.log(1, self._says or f"{call} said no\nin two lines")
        return not fails

    def init_libnvinfer_plugins(self, logger: object, namespace: str) -> bool:
        assert not hasattr(self, "CudaGraphStrategy"), "TensorRT for RTX has no plugins"
        return True

    def Runtime(self, logger: Any) -> FakeRuntime | Hollow:
        self._logger = logger
        if self._works("Runtime"):
            return FakeRuntime(self)
        if self._hollow:
            return Hollow()
        raise TypeError("pybind11::init(): factory function returned nullptr")
