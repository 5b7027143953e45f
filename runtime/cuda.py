"""The CUDA runtime, as far as one engine needs it: memory, copies and a stream, with errors that are raised."""

from typing import Any, TypeAlias

import numpy.typing as npt

from lstn.errors import DeviceError
from lstn.imports import require

Address: TypeAlias = int
"""Of memory on the GPU."""


class Cuda:
    """The calls of cuda-python's runtime bindings that an engine makes, on GPU 0.

    Each returns (error, *values) and never raises; here each raises DeviceError instead.
    """

    def __init__(self, *, extra: str) -> None:
        """Import cuda-python, which the extra brings, and select the GPU.

        Raises:
            MissingExtra: it isn't installed.
            DeviceError: the driver refuses.
        """
        self._api: Any = require("cuda.bindings.runtime", extra=extra, package="cuda-python")
        self._call("cudaSetDevice", 0)

    def new_stream(self) -> int:
        """Return the handle of a new stream that doesn't wait for the default one."""
        return int(self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back. Never raises: after a fault every call fails, and the fault is the news."""
        self._api.cudaStreamDestroy(stream)

    def allocate(self, size: int) -> Address:
        """Return the address of `size` new bytes on the GPU."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: Address) -> None:
        """Give memory back. Never raises, as above."""
        self._api.cudaFree(address)

    def copy_in(self, target: Address, source: npt.NDArray[Any], stream: int) -> None:
        """Start copying a C-contiguous array to the GPU; it must live until the stream is synchronized."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", target, source.ctypes.data, source.nbytes, kind, stream)

    def copy_out(self, target: npt.NDArray[Any], source: Address, stream: int) -> None:
        """Start filling a C-contiguous array from the GPU; it is full once the stream is synchronized."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, source, target.nbytes, kind, stream)

    def synchronize(self, stream: int) -> None:
        """Wait for everything that was started on the stream."""
        self._call("cudaStreamSynchronize", stream)

    def _call(self, name: str, *arguments: object) -> Any:
        error, *values = getattr(self._api, name)(*arguments)
        if int(error) == 0:
            return values[0] if values else None
        _, text = self._api.cudaGetErrorString(error)
        told = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        short = "use a smaller batch, or free GPU memory" if "memory" in told and name == "cudaMalloc" else ""
        raise DeviceError(f"{name} failed: {told} (CUDA error {int(error)})", hint=short)
