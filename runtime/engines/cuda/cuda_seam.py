"""CUDA seam: the dozen calls that a plan's engine makes on GPU 0, whichever package makes them.

cuda-python makes them all. pycuda stands in where cuda-python is missing; it has no CUDA graphs. Both work in the
device's primary context, the one that the CUDA runtime and so PyTorch and TensorRT use.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Address: TypeAlias = int
"""Of memory on the GPU."""

Stream: TypeAlias = int
"""A cudaStream_t, which is a CUstream."""

Event: TypeAlias = object
Graph: TypeAlias = object

Bytes: TypeAlias = npt.NDArray[np.uint8]
"""(B,) uint8, C-contiguous, in page-locked host memory."""


class Cuda(Protocol):
    """What both packages do.

    Whatever takes or does something raises DeviceError when it fails; whatever gives back or ends never raises, since
    after a fault every call fails, and the fault itself was told already. Copies, waits and launches only start what
    they name: it is done once `synchronize` returned, and until then all memory that it touches has to live.
    """

    graphs: bool
    """Whether `capture` can do anything but fail."""

    integrated: bool
    """Whether the GPU's memory is the host's, as on Jetson: what `pin` returned needs no copy then."""

    def current(self) -> AbstractContextManager[None]:
        """Make GPU 0 the calling thread's within a `with`, around all other calls; and then what it was before."""

    def new_stream(self) -> Stream:
        """Return a stream that doesn't wait for the default one."""

    def destroy_stream(self, stream: Stream) -> None:
        """Give a stream back."""

    def synchronize(self, stream: Stream) -> None:
        """Wait for everything that was started on the stream."""

    def follow(self, stream: Stream, producer: Stream | None) -> None:
        """Let what is started on `stream` from now on wait for all of `producer` so far; None: for the whole GPU."""

    def allocate(self, size: int) -> Address:
        """Return the address of `size` new bytes on the GPU, aligned to 256 bytes at least."""

    def free(self, address: Address) -> None:
        """Give memory back."""

    def pin(self, size: int) -> Bytes:
        """Return `size` new bytes of page-locked host memory, which alone is copied without a detour."""

    def unpin(self, memory: Bytes) -> None:
        """Give what `pin` returned back; no array may look into it any more."""

    def address_of(self, memory: Bytes) -> Address:
        """Return where an integrated GPU sees what `pin` returned."""

    def copy_in(self, target: Address, source: Bytes, stream: Stream) -> None:
        """Copy pinned memory to the GPU."""

    def copy_out(self, target: Bytes, source: Address, stream: Stream) -> None:
        """Fill pinned memory from the GPU."""

    def copy_over(self, target: Address, source: Address, size: int, stream: Stream) -> None:
        """Copy within the GPU."""

    def new_event(self, *, timed: bool) -> Event:
        """Return an event that keeps the time, or one that costs less, and lets the thread sleep that waits for it."""

    def destroy_event(self, event: Event) -> None:
        """Give an event back."""

    def record(self, event: Event, stream: Stream) -> None:
        """Mark the moment when everything so far on the stream is done."""

    def wait(self, event: Event) -> None:
        """Wait for the moment that was marked last."""

    def elapsed_ms(self, begin: Event, end: Event) -> float:
        """Return the milliseconds between two moments, both past, on the GPU's clock."""

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """Run `work`, and keep what it starts on the stream, in place of doing it, as a graph."""

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Start all that a graph holds."""

    def destroy_graph(self, graph: Graph) -> None:
        """Give a graph back."""
