"""CUDA by pycuda, where cuda-python is missing. It knows no CUDA graphs, and nothing of other libraries' streams.

Written against pycuda 2026.1. Its objects may be used and freed in any thread in which the Context that they were made
in is current, and it must be that very Context: hence one for the process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import numpy as np

from lstn.errors import DeviceError
from lstn.imports import require
from lstn.runtime.engines.cuda.cuda_seam import Address, Bytes, Event, Graph, Stream

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING in cuda.h, which pycuda passes on and has no name for
_ASLEEP = 1 | 2  # pycuda.driver.event_flags: BLOCKING_SYNC and DISABLE_TIMING


class PyCuda:
    """`lstn.runtime.engines.cuda.cuda_seam.Cuda` on pycuda.driver."""

    graphs = False
    integrated = False  # as far as it is used: it copies there too

    def __init__(self) -> None:
        """Import pycuda, and see whether the driver answers.

        Raises:
            MissingExtra: it isn't installed.
            DeviceError: the driver refuses.
        """
        self._api: Any = require("pycuda.driver", extra="pycuda")
        with self._raised("the primary context"):
            self._context = _primary_context(self._api)
        self._memory: dict[Address, Any] = {}
        self._streams: dict[Stream, Any] = {}
        self._events: dict[Event, Any] = {}

    @contextmanager
    def current(self) -> Iterator[None]:
        """See `Cuda`. On top of what is current, PyTorch's use of the same context included, and off again."""
        with self._raised("Context.push"):
            self._context.push()
        try:
            yield
        finally:
            with suppress(self._api.Error):
                self._context.pop()

    def new_stream(self) -> Stream:
        """See `Cuda`."""
        with self._raised("Stream"):
            stream = self._api.Stream(_NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def destroy_stream(self, stream: Stream) -> None:
        """See `Cuda`. pycuda destroys what nobody holds."""
        del self._streams[stream]

    def synchronize(self, stream: Stream) -> None:
        """See `Cuda`."""
        with self._raised("Stream.synchronize"):
            self._streams[stream].synchronize()

    def follow(self, stream: Stream, producer: Stream | None) -> None:
        """See `Cuda`. pycuda can't wait for a stream that isn't its own, so the whole GPU it is."""
        with self._raised("Context.synchronize"):
            self._api.Context.synchronize()

    def allocate(self, size: int) -> Address:
        """See `Cuda`."""
        with self._raised("mem_alloc"):
            memory = self._api.mem_alloc(size)
        self._memory[int(memory)] = memory
        return int(memory)

    def free(self, address: Address) -> None:
        """See `Cuda`."""
        with suppress(self._api.Error):
            self._memory.pop(address).free()

    def pin(self, size: int) -> Bytes:
        """See `Cuda`."""
        with self._raised("pagelocked_empty"):
            memory: Bytes = self._api.pagelocked_empty(size, np.uint8)
        return memory

    def unpin(self, memory: Bytes) -> None:
        """See `Cuda`."""
        owner: Any = memory.base
        with suppress(self._api.Error):
            owner.free()

    def address_of(self, memory: Bytes) -> Address:
        """See `Cuda`. Memory is copied."""
        raise DeviceError("pycuda is not asked where the GPU sees the host's memory", hint="pip install cuda-python")

    def copy_in(self, target: Address, source: Bytes, stream: Stream) -> None:
        """See `Cuda`."""
        with self._raised("memcpy_htod_async"):
            self._api.memcpy_htod_async(target, source, self._streams[stream])

    def copy_out(self, target: Bytes, source: Address, stream: Stream) -> None:
        """See `Cuda`."""
        with self._raised("memcpy_dtoh_async"):
            self._api.memcpy_dtoh_async(target, source, self._streams[stream])

    def copy_over(self, target: Address, source: Address, size: int, stream: Stream) -> None:
        """See `Cuda`."""
        with self._raised("memcpy_dtod_async"):
            self._api.memcpy_dtod_async(target, source, size, self._streams[stream])

    def new_event(self, *, timed: bool) -> Event:
        """See `Cuda`."""
        with self._raised("Event"):
            event = self._api.Event(0 if timed else _ASLEEP)
        self._events[id(event)] = event
        return id(event)

    def destroy_event(self, event: Event) -> None:
        """See `Cuda`. pycuda destroys what nobody holds."""
        del self._events[event]

    def record(self, event: Event, stream: Stream) -> None:
        """See `Cuda`."""
        with self._raised("Event.record"):
            self._events[event].record(self._streams[stream])

    def wait(self, event: Event) -> None:
        """See `Cuda`."""
        with self._raised("Event.synchronize"):
            self._events[event].synchronize()

    def elapsed_ms(self, begin: Event, end: Event) -> float:
        """See `Cuda`."""
        with self._raised("Event.time_till"):
            return float(self._events[begin].time_till(self._events[end]))

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """See `Cuda`."""
        raise DeviceError("pycuda has no CUDA graphs", hint="pip install cuda-python")

    def launch(self, graph: Graph, stream: Stream) -> None:
        """See `Cuda`. There is none to launch."""

    def destroy_graph(self, graph: Graph) -> None:
        """See `Cuda`. There is none to destroy."""

    @contextmanager
    def _raised(self, name: str) -> Iterator[None]:
        try:
            yield
        except self._api.Error as error:
            memory = isinstance(error, self._api.MemoryError) and name == "mem_alloc"
            short = "use a smaller batch, or free GPU memory" if memory else ""
            raise DeviceError(f"{name} failed: {' '.join(str(error).split())} (pycuda)", hint=short) from error


@cache
def _primary_context(api: Any) -> Any:
    """Retain GPU 0's primary context, once. It isn't made current by that."""
    api.init()
    return api.Device(0).retain_primary_context()
