"""The NVIDIA driver: its version, the CUDA that it supports, and what to do where a library needs a newer one."""

import ctypes
import os
import re
from dataclasses import dataclass

from lstn.errors import DeviceError
from lstn.install import install_line

CUDA_PROVIDER = "CUDAExecutionProvider"
"""What ONNX Runtime calls what it runs models on an NVIDIA GPU with."""

CUDA_DRIVERS = {12: "525", 13: "580"}
"""A release of CUDA -> the first driver that runs it on Linux (NVIDIA, CUDA Toolkit Release Notes, table 2)."""

_TOO_OLD = re.compile(r"(error:|cudaError|CUDA error) 35\b|driver version is insufficient")
"""cudaErrorInsufficientDriver: what the CUDA runtime says under a driver of an older release, or under none."""

_REPLACED = {
    "trt": "tensorrt tensorrt-cu13 tensorrt-cu13-bindings tensorrt-cu13-libs",
    "trt-rtx": "tensorrt-rtx-cu13 tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs",
}
"""An extra -> what to remove before the one for CUDA 12 is installed: the packages of both write the same files."""


@dataclass(frozen=True, slots=True)
class Driver:
    """The installed driver.

    version: such as `550.54.15`; empty where NVML doesn't say
    cuda:    the newest CUDA that it supports, such as (12, 4)
    """

    version: str
    cuda: tuple[int, int]


def find_driver() -> Driver | None:
    """Return the NVIDIA driver, or None where there is none. Never raises."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        number = ctypes.c_int(0)
        if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return Driver(driver_version() or "", (number.value // 1000, number.value % 1000 // 10))


def driver_version() -> str | None:
    """Return what NVML, the library behind nvidia-smi, calls the driver; None without it."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        name = ctypes.create_string_buffer(96)
        if nvml.nvmlInit_v2() == 0 and nvml.nvmlSystemGetDriverVersion(name, ctypes.c_uint(len(name))) == 0:
            return name.value.decode(errors="replace")
    except (OSError, AttributeError):
        pass
    return None


def refused_by_driver(who: str, said: str, *, extra: str) -> DeviceError:
    """Return the error for a library that doesn't start.

    who:   the library with its version
    said:  what it said; if that is CUDA's error 35, the error names the driver, what it supports, and the ways out
    extra: of lstn that brings the library: trt, trt-rtx or gpu
    """
    if not _TOO_OLD.search(said):
        return DeviceError(f"{who} doesn't start on this machine: {said}", hint="lstn doctor says what fits together")
    driver = find_driver()
    if driver is None:
        return DeviceError(
            f"{who} doesn't start: this machine shows no NVIDIA driver ({said})", hint="install one, then: lstn doctor"
        )
    return DeviceError(
        f"{who} doesn't start: the NVIDIA driver{driver.version and ' ' + driver.version} is too old for it and "
        f"supports CUDA {driver.cuda[0]}.{driver.cuda[1]} ({said})",
        hint=newer_driver_or(driver, extra),
    )


def no_cuda_provider(version: str, said: str) -> DeviceError:
    """Return the error for an ONNX Runtime that doesn't load its CUDA provider.

    said: by its search for the CUDA libraries, by the system that loads them, or by the driver
    """
    who = f"ONNX Runtime {version}"
    if _TOO_OLD.search(said):
        return refused_by_driver(who, said, extra="gpu")
    hint = f"run: {install_line(extra_for('gpu', find_driver()))}; then: lstn doctor"
    return DeviceError(f"{who} can't load its CUDA libraries: {said}", hint=hint)


def newer_driver_or(driver: Driver, extra: str) -> str:
    """Return the ways out for a driver that is too old for an extra of lstn: a newer one, or the extra for CUDA 12."""
    newest = max(CUDA_DRIVERS)
    update = f"update the driver to {CUDA_DRIVERS[newest]} or newer, which supports CUDA {newest}"
    other = extra_for(extra, driver)
    if other == extra:
        return update
    removed = f"pip uninstall -y {_REPLACED[extra]} && " if extra in _REPLACED else ""
    return f"{update}; or run: {removed}{install_line(other)}"


def extra_for(extra: str, driver: Driver | None) -> str:
    """Return which extra of lstn brings what trt, trt-rtx or gpu does to this driver: `trt-cu12` under CUDA 12."""
    return extra if driver is None or driver.cuda[0] != min(CUDA_DRIVERS) else f"{extra}-cu{driver.cuda[0]}"
