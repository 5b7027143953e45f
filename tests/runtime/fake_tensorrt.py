# ruff: noqa: N802, N815 - the names are NVIDIA's
"""TensorRT and the CUDA runtime as far as `lstn.runtime.tensorrt` uses them, computing with NumPy, counting what lives.

Every call can be made to fail, the way the real one fails: by returning None, False or an error number.
"""

import ctypes
from collections.abc import Callable, Iterable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np


class FakeCuda:
    """cuda.bindings.runtime: every call returns (error, *values)."""

    cudaStreamNonBlocking = 1
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.streams: set[int] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., tuple[object, ...]]:
        action = type(self).__dict__.get(f"_{name}")
        if action is None:
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[object, ...]:
            self.calls.append(name)
            if name == self.fails.split("#")[0] and self.calls.count(name) == int(self.fails.partition("#")[2] or 1):
                return (2,)
            return (0, *(value for value in [action(self, *arguments)] if value is not None))

        return call

    def _cudaSetDevice(self, device: int) -> None:
        assert device == 0

    def _cudaMalloc(self, size: int) -> int:
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def _cudaFree(self, address: int) -> None:
        del self.memory[address]

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        self.streams.add(7)
        return 7

    def _cudaStreamDestroy(self, stream: int) -> None:
        self.streams.remove(stream)

    def _cudaStreamSynchronize(self, stream: int) -> None:
        assert stream in self.streams

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        assert stream in self.streams
        on_gpu = target if kind == 1 else source
        assert size <= len(self.memory[on_gpu])
        ctypes.memmove(target, source, size)

    def _cudaGetErrorString(self, error: int) -> bytes:
        return b"out of memory"

    def array(self, address: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        count = int(np.prod(shape))
        return np.frombuffer(self.memory[address], dtype, count).reshape(shape)


class FakeContext:
    """IExecutionContext: refuses to run before shapes and addresses are set."""

    def __init__(self, trt: "FakeTensorrt") -> None:
        self.trt = trt
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.trt.batch
        self.shape = tuple(shape)
        return name == "pixels" and low <= shape[0] <= high and self.trt.works("set_input_shape")

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return self.trt.works("set_tensor_address")

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self.trt.works("execute_async_v3") or set(self.addresses) != {"pixels", *self.trt.outputs}:
            return False
        cuda = self.trt.cuda
        pixels = cuda.array(self.addresses["pixels"], self.shape, np.uint8)
        for name, answer in self.trt.answer(pixels).items():
            cuda.array(self.addresses[name], answer.shape, np.float32)[...] = answer
        return True


class FakeTensorrt:
    """The module, the runtime and the engine in one."""

    ILogger = type("ILogger", (), {"ERROR": 1, "__init__": lambda self: None})
    Mode = IntEnum("Mode", ["INPUT", "OUTPUT"])
    Type = IntEnum("Type", ["UINT8", "FLOAT"])

    def __init__(
        self,
        cuda: FakeCuda,
        answer: Callable[[np.ndarray], dict[str, np.ndarray]],
        *,
        outputs: dict[str, tuple[int, ...]],
        batch: tuple[int, int, int] = (1, 4, 8),
        version: str = "10.13.0.35",
        fails: str = "",
    ) -> None:
        self.__version__ = version
        self.cuda, self.answer, self.outputs, self.batch, self.fails = cuda, answer, outputs, batch, fails
        self.shapes = {"pixels": (-1, 8, 8, 3)} | {name: (-1, *shape) for name, shape in outputs.items()}
        self.num_io_tensors = len(self.shapes)
        self.logger: Any = None

    def works(self, call: str) -> bool:
        if call == self.fails:
            self.logger.log(1, f"{call} said no\nin two lines")
        return call != self.fails

    def init_libnvinfer_plugins(self, logger: object, namespace: str) -> bool:
        return True

    def Runtime(self, logger: Any) -> "FakeTensorrt":
        self.logger = logger
        return self

    def deserialize_cuda_engine(self, data: bytes) -> "FakeTensorrt | None":
        return self if self.works("deserialize_cuda_engine") else None

    def create_execution_context(self) -> FakeContext | None:
        return FakeContext(self) if self.works("create_execution_context") else None

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_mode(self, name: str) -> IntEnum:
        return self.Mode.INPUT if name == "pixels" else self.Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> IntEnum:
        return self.Type.UINT8 if name == "pixels" else self.Type.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_profile_shape(self, name: str, index: int) -> Iterable[tuple[int, ...]]:
        return [(size, *self.shapes[name][1:]) for size in self.batch]
