"""Energy, where the machine counts it: joules of the first NVIDIA GPU (NVML) or of all CPU packages (RAPL).

Both count everything that the chip does, other programs included. Where neither can be read there is no figure.
"""

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Joules: TypeAlias = Callable[[], float]
"""Reads a counter that only grows."""

_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules for one image, and whose joules: `GPU` or `CPU`."""

    joules_per_image: float
    of: str


def measure_energy(
    run: Callable[[], object], *, images: int, on_gpu: bool, seconds: float = 1.0, counter: Joules | None = None
) -> Energy | None:
    """Run alone for about `seconds` and read the counter before and after; None where there is none.

    images:  how many a call of `run` takes
    counter: of the GPU or the CPU; found by itself if left out
    """
    joules = counter or (gpu_counter() if on_gpu else cpu_counter())
    if joules is None:
        return None
    calls, end = 0, time.perf_counter() + seconds
    before = joules()
    while calls == 0 or time.perf_counter() < end:
        run()
        calls += 1
    used = joules() - before
    return Energy(used / (calls * images), "GPU" if on_gpu else "CPU") if used > 0 else None


def cpu_counter(root: Path = _POWERCAP) -> Joules | None:
    """Return RAPL's counter over all packages, or None where there is none or only root may read it."""
    packages = []
    for folder in sorted(root.glob("intel-rapl:[0-9]*")):  # so it is called on AMD too
        if folder.name.count(":") == 1:  # two colons: a part of a package, counted with it
            try:
                limit = int((folder / "max_energy_range_uj").read_text())
                int((folder / "energy_uj").read_text())
            except (OSError, ValueError):
                return None
            packages.append(_Package(folder / "energy_uj", limit))
    return (lambda: sum(package.joules() for package in packages)) if packages else None


class _Package:
    """One package's counter, which begins again at 0 after `limit` microjoules."""

    def __init__(self, file: Path, limit: int) -> None:
        self._file, self._limit = file, limit
        self._last, self._rounds = 0, 0

    def joules(self) -> float:
        """Return the joules so far; to be read at least once a round, which takes minutes."""
        value = int(self._file.read_text())
        self._rounds += value < self._last
        self._last = value
        return (value + self._rounds * self._limit) / 1e6


def gpu_counter() -> Joules | None:
    """Return NVML's counter of the first GPU, or None: no driver, or a GPU from before Volta."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
            return None
        if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy)):
            return None
    except (OSError, AttributeError):
        return None

    def joules() -> float:
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy))
        return energy.value / 1000

    return joules
