"""CUDA by cuda-python, whose functions return (error, *values) and never raise."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from lstn.errors import DeviceError
from lstn.imports import require
from lstn.machine.collector import collector_at_rest
from lstn.nvidia_driver import extra_for, find_driver, refused_by_driver
from lstn.runtime.engines.cuda.cuda_seam import Address, Bytes, Event, Graph, Stream

_DEVICE = 0


class CudaPython:
    """`Cuda` on the runtime bindings, which need no compiler and have wheels for x86-64 and Arm."""

    graphs = True
    integrated = False

    def __init__(self, *, extra: str) -> None:
        """Import cuda-python, which the extra brings, and see whether the driver answers.

        Raises:
            MissingExtra: it isn't installed.
            DeviceError: the driver refuses; if it is too old, the error names the extra for it.
        """
        own = extra_for(extra, find_driver())
        self._api: Any = require("cuda.bindings.runtime", extra=own, package="cuda-python")
        try:
            with self.current():
                found = self._call("cudaDeviceGetAttribute", self._api.cudaDeviceAttr.cudaDevAttrIntegrated, _DEVICE)
        except DeviceError as error:
            raise refused_by_driver("cuda-python", error.message, extra=extra) from error
        self.integrated = bool(found)

    @contextmanager
    def current(self) -> Iterator[None]:
        """The current device is the thread's: another library may have chosen another one in this thread."""
        before = self._call("cudaGetDevice")
        if before != _DEVICE:
            self._call("cudaSetDevice", _DEVICE)
        try:
            yield
        finally:
            if before != _DEVICE:
                self._give_back("cudaSetDevice", before)

    def new_stream(self) -> Stream:
        """See `Cuda`."""
        return int(self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking))

    def destroy_stream(self, stream: Stream) -> None:
        """See `Cuda`."""
        self._give_back("cudaStreamDestroy", stream)

    def synchronize(self, stream: Stream) -> None:
        """See `Cuda`."""
        self._call("cudaStreamSynchronize", stream)

    def follow(self, stream: Stream, producer: Stream | None) -> None:
        """See `Cuda`."""
        if producer is None:
            self._call("cudaDeviceSynchronize")
            return
        event = self._call("cudaEventCreateWithFlags", self._api.cudaEventDisableTiming)
        try:
            self._call("cudaEventRecord", event, producer)
            self._call("cudaStreamWaitEvent", stream, event, 0)
        finally:  # the stream still waits for what was recorded
            self._give_back("cudaEventDestroy", event)

    def allocate(self, size: int) -> Address:
        """See `Cuda`."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: Address) -> None:
        """See `Cuda`."""
        self._give_back("cudaFree", address)

    def pin(self, size: int) -> Bytes:
        """See `Cuda`."""
        flags = self._api.cudaHostAllocMapped if self.integrated else self._api.cudaHostAllocDefault
        address = int(self._call("cudaHostAlloc", size, flags))
        memory: Any = (ctypes.c_uint8 * size).from_address(address)
        pinned: Bytes = np.frombuffer(memory, np.uint8)
        return pinned

    def unpin(self, memory: Bytes) -> None:
        """See `Cuda`."""
        self._give_back("cudaFreeHost", memory.ctypes.data)

    def address_of(self, memory: Bytes) -> Address:
        """See `Cuda`."""
        return int(self._call("cudaHostGetDevicePointer", memory.ctypes.data, 0))

    def copy_in(self, target: Address, source: Bytes, stream: Stream) -> None:
        """See `Cuda`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", target, source.ctypes.data, source.nbytes, kind, stream)

    def copy_out(self, target: Bytes, source: Address, stream: Stream) -> None:
        """See `Cuda`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, source, target.nbytes, kind, stream)

    def copy_over(self, target: Address, source: Address, size: int, stream: Stream) -> None:
        """See `Cuda`."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self._call("cudaMemcpyAsync", target, source, size, kind, stream)

    def new_event(self, *, timed: bool) -> Event:
        """See `Cuda`."""
        asleep = self._api.cudaEventBlockingSync | self._api.cudaEventDisableTiming
        event: Event = self._call("cudaEventCreateWithFlags", self._api.cudaEventDefault if timed else asleep)
        return event

    def destroy_event(self, event: Event) -> None:
        """See `Cuda`."""
        self._give_back("cudaEventDestroy", event)

    def record(self, event: Event, stream: Stream) -> None:
        """See `Cuda`."""
        self._call("cudaEventRecord", event, stream)

    def wait(self, event: Event) -> None:
        """See `Cuda`."""
        self._call("cudaEventSynchronize", event)

    def elapsed_ms(self, begin: Event, end: Event) -> float:
        """See `Cuda`."""
        return float(self._call("cudaEventElapsedTime", begin, end))

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """See `Cuda`. Other threads may allocate meanwhile, which the default mode of capture forbids them.

        Python's collector may not: an array of PyTorch's that it freed in this thread would spoil the capture.
        """
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        with collector_at_rest():
            self._call("cudaStreamBeginCapture", stream, mode)
            try:
                work()
            except BaseException:
                self._abandon(stream)
                raise
            recorded = self._call("cudaStreamEndCapture", stream)
        try:
            graph: Graph = self._call("cudaGraphInstantiate", recorded, 0)
        finally:
            self._give_back("cudaGraphDestroy", recorded)
        return graph

    def launch(self, graph: Graph, stream: Stream) -> None:
        """See `Cuda`."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Graph) -> None:
        """See `Cuda`."""
        self._give_back("cudaGraphExecDestroy", graph)

    def _abandon(self, stream: Stream) -> None:
        """A stream records until it is told to stop, whatever went wrong."""
        recorded = self._give_back("cudaStreamEndCapture", stream)
        if recorded is not None:
            self._give_back("cudaGraphDestroy", recorded)

    def _give_back(self, name: str, *arguments: object) -> Any:
        """Call, and return what it gives, or None whatever went wrong."""
        with suppress(DeviceError):
            return self._call(name, *arguments)

    def _call(self, name: str, *arguments: object) -> Any:
        error, *values = getattr(self._api, name)(*arguments)
        if int(error) == 0:
            return values[0] if values else None
        self._api.cudaGetLastError()  # reads and forgets it, or PyTorch would find it and raise it as its own
        _, text = self._api.cudaGetErrorString(error)
        told = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        short = "use a smaller batch, or free GPU memory" if "memory" in told and name == "cudaMalloc" else ""
        raise DeviceError(f"{name} failed: {told} (CUDA error {int(error)})", hint=short)
