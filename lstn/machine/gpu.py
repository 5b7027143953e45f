"""GPUs: their names, memory and power, asked of the NVIDIA driver without any CUDA package."""

import ctypes
import os
import re
from dataclasses import dataclass
from enum import Enum

from lstn.errors import UsageError

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute in cuda.h


class Device(str, Enum):
    """Where a model runs; `auto` takes the GPU when there is one and the library can use it."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def well_named_device(name: str) -> str:
    """Return the name of a device, if it can be one of PyTorch's; whether it is there PyTorch alone knows.

    Raises:
        UsageError: it is not `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name, re.ASCII):
        raise UsageError(f"unknown device {name!r}", hint="use auto, cpu, cuda or cuda:N")
    return name


def engine_device(name: str) -> Device:
    """`auto`, `cpu`, `cuda` or `cuda:0` -> where an engine runs.

    Raises:
        UsageError: another name, or a second GPU: engines run on the first one that the driver shows.
    """
    kind, _, number = well_named_device(name).partition(":")
    if int(number or 0):
        raise UsageError(
            f"--device {name}: an engine runs on the first GPU that it is shown",
            hint=f"show it that one alone: set CUDA_VISIBLE_DEVICES={number}, and use --device cuda",
        )
    return Device(kind)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU. `target` is its compute capability as TensorRT for RTX and nvcc spell it, such as `sm89`."""

    name: str
    target: str
    memory_mib: int


def find_gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs that the driver shows to this process; none without a driver. Never raises."""
    driver, count = _driver_and_count()
    return () if driver is None else tuple(_describe(driver, ordinal) for ordinal in range(count))


def pci_bus_id() -> str | None:
    """Return where the first GPU is, such as `0000:65:00.0`; None where there is none, or none that says it."""
    driver, count = _driver_and_count()
    if driver is None or not count:
        return None
    device, text = ctypes.c_int(0), ctypes.create_string_buffer(32)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    if driver.cuDeviceGetPCIBusId(text, len(text), device) != 0:
        return None
    return text.value.decode(errors="replace")


def _driver_and_count() -> tuple[ctypes.CDLL | None, int]:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None, 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return None, 0
    return driver, count.value


def _describe(driver: ctypes.CDLL, ordinal: int) -> Gpu:
    device, memory, name = ctypes.c_int(0), ctypes.c_size_t(0), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor = (
        _attribute(driver, device, number) for number in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR)
    )
    return Gpu(name.value.decode(errors="replace"), f"sm{major}{minor}", memory.value >> 20)


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int(0)
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value
