# ruff: noqa: N802, N803, N815 - the names are NVIDIA's
"""cuda-python as far as `lstn.runtime.engines.cuda.cuda_python` uses it, in front of a GPU in plain memory."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from fake_gpu import FakeEvent, FakeGpu, FakeStream, Work


class FakeCudart:
    """cuda.bindings.runtime: every call returns (error, *values)."""

    cudaStreamNonBlocking, cudaHostAllocDefault, cudaHostAllocMapped = 1, 0, 2
    cudaEventDefault, cudaEventBlockingSync, cudaEventDisableTiming = 0, 1, 2
    cudaDeviceAttr = SimpleNamespace(cudaDevAttrIntegrated=18)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.thread = threading.local()

    def __getattr__(self, name: str) -> Callable[..., tuple[object, ...]]:
        action = type(self).__dict__.get(f"_{name}")
        if action is None:
            raise AttributeError(name)
        gives = action.__annotations__["return"] is not None

        def call(*arguments: Any) -> tuple[object, ...]:
            with self.gpu.lock:
                if name not in ("cudaGetDevice", "cudaSetDevice", "cudaGetErrorString", "cudaGetLastError"):
                    assert self.device() == 0, f"{name} on device {self.device()}"
                if name not in ("cudaGetErrorString", "cudaGetLastError") and self.gpu.fails_now(name):
                    self.gpu.last_error = self.gpu.error[0]
                    if name == "cudaStreamEndCapture":  # whatever it answers, the stream records no more
                        self._cudaStreamEndCapture(*arguments)
                        self.gpu.graphs.popitem()
                    return (self.gpu.error[0], None) if gives else (self.gpu.error[0],)
                value = action(self, *arguments)
                return (0, value) if gives else (0,)

        return call

    def device(self) -> int:
        return getattr(self.thread, "device", 0)

    def _cudaGetDevice(self) -> int:
        return self.device()

    def _cudaSetDevice(self, device: int) -> None:
        self.thread.device = device

    def _cudaDeviceGetAttribute(self, attr: int, device: int) -> int:
        assert (attr, device) == (18, 0)
        return int(self.gpu.integrated)

    def _cudaMalloc(self, size: int) -> int:
        return self.gpu.allocate(size)

    def _cudaFree(self, address: int) -> None:
        del self.gpu.memory[address]

    def _cudaHostAlloc(self, size: int, flags: int) -> int:
        assert flags == (2 if self.gpu.integrated else 0)
        return self.gpu.pin(size).ctypes.data

    def _cudaHostGetDevicePointer(self, pHost: int, flags: int) -> int:
        assert flags == 0
        return self.gpu.map(pHost)

    def _cudaFreeHost(self, address: int) -> None:
        self.gpu.unpin(address)

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        assert flags == self.cudaStreamNonBlocking
        handle = next(self.gpu.handles)
        self.gpu.streams[handle] = FakeStream(self.gpu)
        return handle

    def _cudaStreamDestroy(self, stream: int) -> None:
        assert not self.gpu.streams.pop(stream).pending, "destroyed before its work was done"

    def _cudaStreamSynchronize(self, stream: int) -> None:
        self.gpu.synchronize(self.gpu.streams[stream])

    def _cudaDeviceSynchronize(self) -> None:
        self.gpu.drain_all()

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        gpu = self.gpu
        to, of = {1: (gpu.on_gpu, gpu.host), 2: (gpu.host, gpu.on_gpu), 3: (gpu.on_gpu, gpu.on_gpu)}[kind]
        gpu.copy({1: "in", 2: "out", 3: "over"}[kind], lambda: to(target, size), lambda: of(source, size), stream)

    def _cudaEventCreateWithFlags(self, flags: int) -> FakeEvent:
        event = FakeEvent(timing=not flags & 2, blocking=bool(flags & 1))
        self.gpu.events.add(event)
        return event

    def _cudaEventDestroy(self, event: FakeEvent) -> None:
        self.gpu.events.remove(event)

    def _cudaEventRecord(self, event: FakeEvent, stream: int) -> None:
        self.gpu.record(event, stream)

    def _cudaStreamWaitEvent(self, stream: int, event: FakeEvent, flags: int) -> None:
        assert flags == 0
        self.gpu.wait_for(stream, event)

    def _cudaEventSynchronize(self, event: FakeEvent) -> None:
        self.gpu.wait(event)

    def _cudaEventElapsedTime(self, begin: FakeEvent, end: FakeEvent) -> float:
        return self.gpu.elapsed_ms(begin, end)

    def _cudaStreamBeginCapture(self, stream: int, mode: int) -> None:
        assert mode == 1, "other threads may allocate"
        assert self.gpu.streams[stream].recording is None
        self.gpu.streams[stream].recording = []
        self.gpu.recording_threads.add(threading.get_ident())

    def _cudaStreamEndCapture(self, stream: int) -> int:
        recorded, self.gpu.streams[stream].recording = self.gpu.streams[stream].recording, None
        self.gpu.recording_threads.remove(threading.get_ident())
        assert recorded is not None
        return self._new_graph(recorded)

    def _new_graph(self, work: list[Work]) -> int:
        handle = next(self.gpu.handles)
        self.gpu.graphs[handle] = work
        return handle

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> int:
        assert flags == 0
        return self._new_graph(list(self.gpu.graphs[graph]))

    def _cudaGraphLaunch(self, graph: int, stream: int) -> None:
        for work in self.gpu.graphs[graph]:
            self.gpu.streams[stream].start(work)

    def _cudaGraphExecDestroy(self, graph: int) -> None:
        del self.gpu.graphs[graph]

    def _cudaGraphDestroy(self, graph: int) -> None:
        del self.gpu.graphs[graph]

    def _cudaGetLastError(self) -> None:
        self.gpu.last_error = 0

    def _cudaGetErrorString(self, error: int) -> bytes:
        return self.gpu.error[1]
