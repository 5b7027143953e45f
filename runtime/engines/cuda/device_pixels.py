"""Images that are on the GPU already: PyTorch's, CuPy's or pycuda's arrays, read where they are.

Two protocols say where: DLPack (dmlc/dlpack, `include/dlpack/dlpack.h`) and the CUDA Array Interface (Numba's
documentation, version 3). DLPack goes first: its producer waits on the GPU for its own stream, PyTorch's current one
for example, which PyTorch's CUDA Array Interface doesn't name. Memory must belong to the device's primary context, as
that of all three does, but for pycuda's under `pycuda.autoinit`: there it is `pycuda.autoprimaryctx`.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from lstn.contract import Contract
from lstn.errors import UsageError
from lstn.images import Pixels
from lstn.runtime.engines.cuda.cuda_seam import Address, Cuda, Stream
from lstn.runtime.engines.prediction import check_pixels, check_shape

_ON_HOST = (1, 3)  # kDLCPU, kDLCUDAHost
_ON_GPU = (2, 13)  # kDLCUDA, kDLCUDAManaged
_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}  # DLDataTypeCode
_ORDERED = 3  # the version of the CUDA Array Interface from which on it names a stream


@dataclass(frozen=True, slots=True)
class DevicePixels:
    """(N, H, W, 3) uint8 RGB on GPU 0, C-contiguous. It lives at least as long as `owner`."""

    address: Address
    count: int
    owner: object


class _Dlpack(Protocol):
    def __dlpack__(self, *, stream: int | None = None) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


class _CudaArray(Protocol):
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


AnyPixels: TypeAlias = Pixels | _Dlpack | _CudaArray
"""(N, H, W, 3) uint8 RGB on the host or on GPU 0."""


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def read_pixels(pixels: AnyPixels, contract: Contract, cuda: Cuda, stream: Stream) -> Pixels | DevicePixels:
    """Return (N, H, W, 3) uint8 with N of 1 or more, on the host or the GPU; `stream` can read it from now on.

    Raises:
        UsageError: of another dtype or shape, not C-contiguous on the GPU, or on another device.
        DeviceError: CUDA failed.
    """
    source: Any = pixels
    if isinstance(source, np.ndarray):
        return _on_host(source, contract)
    if hasattr(source, "__dlpack__") and hasattr(source, "__dlpack_device__"):
        kind, index = (int(number) for number in source.__dlpack_device__())
        if kind in _ON_HOST:
            with _readable():
                on_host: Any = np.from_dlpack(source)
            return _on_host(on_host, contract)
        if kind not in _ON_GPU or index != 0:
            where = f"GPU {index}" if kind in _ON_GPU else f"a device of DLPack's kind {kind}"
            raise UsageError(f"pixels are on {where}; expected host memory or GPU 0, where plans run")
        return _from_dlpack(source, contract, stream)
    found = getattr(source, "__cuda_array_interface__", None)
    if not isinstance(found, dict):
        raise UsageError(f"pixels are a {type(source).__name__}; expected a NumPy array, or one that is on the GPU")
    return _from_interface(source, found, contract, cuda, stream)


def _on_host(pixels: Pixels, contract: Contract) -> Pixels:
    check_pixels(pixels, contract, None)
    return pixels


def _from_dlpack(pixels: Any, contract: Contract, stream: Stream) -> DevicePixels:
    """The capsule isn't marked as taken, so it frees the tensor itself when it goes."""
    with _readable():
        capsule = pixels.__dlpack__(stream=stream)
    tensor = _DLTensor.from_address(_pointer_in(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.ndim])
    dtype = f"{_CODES.get(tensor.code, 'opaque')}{tensor.bits}" + (f"x{tensor.lanes}" if tensor.lanes != 1 else "")
    check_shape(dtype, shape, contract, None)
    _check_strides(shape, tensor.strides[: tensor.ndim] if tensor.strides else None)
    return DevicePixels(int(tensor.data) + int(tensor.byte_offset), shape[0], capsule)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of a tensor that requires gradients, for example: each library has its own
        raise UsageError(f"pixels can't be read by DLPack: {' '.join(str(error).split())}") from error


def _from_interface(
    pixels: object, found: dict[str, Any], contract: Contract, cuda: Cuda, stream: Stream
) -> DevicePixels:
    shape = tuple(int(size) for size in found["shape"])
    check_shape(str(np.dtype(found["typestr"])), shape, contract, None)
    _check_strides(shape, found.get("strides"))
    if found["version"] < _ORDERED:
        cuda.follow(stream, None)
    elif found.get("stream") is not None:
        cuda.follow(stream, int(found["stream"]))
    return DevicePixels(int(found["data"][0]), shape[0], pixels)


def _check_strides(shape: Sequence[int], strides: Sequence[int] | None) -> None:
    """Strides of bytes, which elements of uint8 are too. None stands for C-contiguous; a size of 1 has any stride."""
    wanted = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    if strides is not None and any(
        size > 1 and stride != right for size, stride, right in zip(shape, strides, wanted, strict=True)
    ):
        raise UsageError(
            f"pixels on the GPU have strides {tuple(strides)}; expected C-contiguous ones, {tuple(wanted)}",
            hint="in PyTorch: pixels.contiguous()",
        )
