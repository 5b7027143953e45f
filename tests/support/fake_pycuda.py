# ruff: noqa: N802 - the names are pycuda's
"""pycuda as far as `lstn.runtime.engines.cuda.pycuda_calls` uses it, in front of a GPU in plain memory."""

import threading
from types import SimpleNamespace

import numpy as np
from fake_gpu import FakeEvent, FakeGpu, FakeStream


class PycudaError(Exception):
    pass


class PycudaMemoryError(PycudaError):
    pass


class FakePycuda:
    """pycuda.driver. All but `init`, `Device` and the context itself want that context current in the thread."""

    Error, MemoryError = PycudaError, PycudaMemoryError

    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu
        self._thread = threading.local()
        self._primary = _Context(self)
        self.Context = SimpleNamespace(synchronize=self._synchronize)

    def _stack(self) -> list["_Context"]:
        if not hasattr(self._thread, "stack"):
            self._thread.stack = []
        return self._thread.stack

    def _enter(self, name: str, *, anywhere: bool = False) -> None:
        if not anywhere and self._stack()[-1:] != [self._primary]:
            raise PycudaError(f"{name} failed: invalid device context")
        if self._gpu.fails_now(name):
            raise (PycudaMemoryError if name == "mem_alloc" else PycudaError)(f"{name} failed: out of\nmemory")

    def _destroy(self, kind: str) -> None:
        """pycuda would warn and leak, in any thread but the first."""
        if self._stack()[-1:] != [self._primary]:
            self._gpu.lost.append(kind)

    def init(self, flags: int = 0) -> None:
        self._enter("init", anywhere=True)

    def Device(self, number: int) -> SimpleNamespace:
        assert number == 0

        def retain() -> _Context:
            self._enter("retain_primary_context", anywhere=True)
            return self._primary

        return SimpleNamespace(retain_primary_context=retain)

    def _synchronize(self) -> None:
        self._enter("Context.synchronize")
        self._gpu.drain_all()

    def Stream(self, flags: int = 0) -> "_Stream":
        assert flags == 1
        self._enter("Stream")
        return _Stream(self)

    def Event(self, flags: int = 0) -> "_Event":
        self._enter("Event")
        return _Event(self, flags)

    def mem_alloc(self, size: int) -> "_DeviceAllocation":
        self._enter("mem_alloc")
        return _DeviceAllocation(self, size)

    def pagelocked_empty(self, shape: int, dtype: type, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        self._enter("pagelocked_empty")
        assert dtype is np.uint8
        return np.asarray(_HostAllocation(self, shape))

    def memcpy_htod_async(self, dest: int, src: np.ndarray, stream: "_Stream") -> None:
        self._enter("memcpy_htod_async")
        address, size = src.ctypes.data, src.nbytes
        self._gpu.copy("in", lambda: self._gpu.on_gpu(dest, size), lambda: self._gpu.host(address, size), stream.handle)

    def memcpy_dtoh_async(self, dest: np.ndarray, src: int, stream: "_Stream") -> None:
        self._enter("memcpy_dtoh_async")
        address, size = dest.ctypes.data, dest.nbytes
        self._gpu.copy("out", lambda: self._gpu.host(address, size), lambda: self._gpu.on_gpu(src, size), stream.handle)

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: "_Stream") -> None:
        self._enter("memcpy_dtod_async")
        self._gpu.copy("over", lambda: self._gpu.on_gpu(dest, size), lambda: self._gpu.on_gpu(src, size), stream.handle)


class _Context:
    def __init__(self, api: FakePycuda) -> None:
        self._api = api

    def push(self) -> None:
        self._api._enter("Context.push", anywhere=True)
        self._api._stack().append(self)

    def pop(self) -> None:
        assert self._api._stack().pop() is self


class _Stream:
    def __init__(self, api: FakePycuda) -> None:
        self._api, self.handle = api, next(api._gpu.handles)
        api._gpu.streams[self.handle] = FakeStream(api._gpu)

    def synchronize(self) -> None:
        self._api._enter("Stream.synchronize")
        self._api._gpu.synchronize(self._api._gpu.streams[self.handle])

    def __del__(self) -> None:
        self._api._destroy("stream")
        self._api._gpu.streams.pop(self.handle)


class _Event:
    def __init__(self, api: FakePycuda, flags: int) -> None:
        self._api, self._event = api, FakeEvent(timing=not flags & 2, blocking=bool(flags & 1))
        api._gpu.events.add(self._event)

    def record(self, stream: _Stream) -> "_Event":
        self._api._enter("Event.record")
        self._api._gpu.record(self._event, stream.handle)
        return self

    def synchronize(self) -> "_Event":
        self._api._enter("Event.synchronize")
        self._api._gpu.wait(self._event)
        return self

    def time_till(self, event: "_Event") -> float:
        self._api._enter("Event.time_till")
        return self._api._gpu.elapsed_ms(self._event, event._event)

    def __del__(self) -> None:
        self._api._destroy("event")
        self._api._gpu.events.remove(self._event)


class _DeviceAllocation:
    def __init__(self, api: FakePycuda, size: int) -> None:
        self._api, self._address = api, api._gpu.allocate(size)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        self._api._enter("DeviceAllocation.free")
        del self._api._gpu.memory[self._address]


class _HostAllocation:
    def __init__(self, api: FakePycuda, size: int) -> None:
        self._api, self._block = api, api._gpu.pin(size)
        self.__array_interface__ = self._block.__array_interface__

    def free(self) -> None:
        self._api._enter("PagelockedHostAllocation.free")
        self._api._gpu.unpin(self._block.ctypes.data)
