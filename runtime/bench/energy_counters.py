"""Counters of energy: NVML's of the first NVIDIA GPU, RAPL's of all CPU packages, and the power monitors of a Jetson.

Each counts all that the chip does, other programs included.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lstn.machine.gpu import pci_bus_id

Joules: TypeAlias = Callable[[], float]
"""Reads a counter that only grows."""

_POWERCAP = Path("/sys/class/powercap")
_HWMON = Path("/sys/class/hwmon")

_RAILS = (("VDD_IN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""Rails that add up to a Jetson module: of Orin NX and Nano, which have one for all; and of AGX Orin, whose three are added up.
Not tried on a Jetson."""

_SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """A counter. open: gives what reads it, for a `with`; of: whose joules they are, `GPU`, `CPU` or `module`."""

    open: Callable[[], AbstractContextManager[Joules]]
    of: str


def find_counter(*, on_gpu: bool) -> EnergyCounter | None:
    """Return the counter of what a model runs on, or on a Jetson of the whole module; None where there is none."""
    joules = gpu_counter() if on_gpu else cpu_counter()
    if joules is not None:
        return EnergyCounter(lambda: nullcontext(joules), "GPU" if on_gpu else "CPU")
    watts = jetson_power()
    return None if watts is None else EnergyCounter(lambda: integrated(watts), "module")


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
    """Return NVML's counter of CUDA's first GPU, or None: no driver, a GPU from before Volta, or a Jetson.

    The two number GPUs differently, CUDA by speed and by CUDA_VISIBLE_DEVICES, so it is the PCI bus that says which.
    """
    bus = pci_bus_id()
    if bus is None:
        return None
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        device, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByPciBusId_v2(bus.encode(), ctypes.byref(device)):
            return None
        if nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy)):
            return None
    except (OSError, AttributeError):
        return None

    def joules() -> float:
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy))
        return energy.value / 1000

    return joules


def jetson_power(root: Path = _HWMON) -> Callable[[], float] | None:
    """Return what reads the watts of a Jetson's module from its INA3221 monitors, or None where it has none."""
    rails: dict[str, tuple[Path, Path]] = {}
    for monitor in sorted(root.glob("hwmon*")):
        for number in (1, 2, 3):
            volts, amperes = monitor / f"in{number}_input", monitor / f"curr{number}_input"
            with suppress(OSError, ValueError):  # of a channel that is switched off
                if (monitor / "name").read_text().strip() == "ina3221":
                    label = (monitor / f"in{number}_label").read_text().strip()
                    int(volts.read_text()), int(amperes.read_text())
                    rails[label] = (volts, amperes)
    whole = next((names for names in _RAILS if set(names) <= rails.keys()), None)
    if whole is None:
        return None
    files = [rails[name] for name in whole]
    return lambda: sum(int(volts.read_text()) * int(amperes.read_text()) for volts, amperes in files) / 1e6


class Integral:
    """The joules of a power that is read now and then."""

    def __init__(self) -> None:
        self.joules = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, at_s: float, watts: float) -> None:
        """Take a reading; between two of them the power is taken for a straight line."""
        if self._last is not None:
            before_s, before_watts = self._last
            self.joules += (at_s - before_s) * (watts + before_watts) / 2
        self._last = (at_s, watts)


@contextmanager
def integrated(watts: Callable[[], float]) -> Iterator[Joules]:
    """Give a counter of the joules of a power, which a thread reads a hundred times a second."""
    integral, ended = Integral(), threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_S):
            integral.add(time.perf_counter(), watts())

    thread = threading.Thread(target=sample, name="power", daemon=True)
    thread.start()
    try:
        yield lambda: integral.joules
    finally:
        ended.set()
        thread.join()
