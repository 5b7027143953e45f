import ctypes
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstn.runtime.bench.energy_counters import (
    EnergyCounter,
    Integral,
    cpu_counter,
    find_counter,
    gpu_counter,
    integrated,
    jetson_power,
)
from lstn.runtime.bench.power import SECONDS, measure_energy


def package(root: Path, name: str, energy: int, *, limit: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    return folder / "energy_uj"


def test_packages_add_up_and_their_parts_do_not_count_twice(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 200_000)
    package(tmp_path, "intel-rapl:1", 300_000)
    package(tmp_path, "intel-rapl:0:0", 150_000)
    counter = cpu_counter(tmp_path)
    assert counter is not None
    assert counter() == pytest.approx(0.5)


def test_a_counter_that_begins_again_goes_on(tmp_path: Path) -> None:
    file = package(tmp_path, "intel-rapl:0", 900_000)
    counter = cpu_counter(tmp_path)
    assert counter is not None
    before = counter()
    file.write_text("100000")
    assert counter() - before == pytest.approx(0.2)


def test_without_a_readable_counter_there_is_no_figure(tmp_path: Path) -> None:
    assert cpu_counter(tmp_path) is None
    package(tmp_path, "intel-rapl:0", 0).unlink()  # as unreadable as to anybody but root
    assert cpu_counter(tmp_path) is None


def counting(joules: Any, of: str = "CPU") -> EnergyCounter:
    return EnergyCounter(lambda: nullcontext(joules), of)


def test_joules_are_shared_among_the_images() -> None:
    used = [0.0]

    def run() -> None:
        used[0] += 12.0

    energy = measure_energy(run, images=8, on_gpu=False, seconds=0.001, counter=counting(lambda: used[0]))
    assert energy is not None
    assert energy.joules_per_image == pytest.approx(1.5)
    assert energy.of == "CPU"


def test_a_counter_that_stands_still_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstn.runtime.bench.power._PATIENCE_S", 0.01)
    assert measure_energy(lambda: None, images=1, on_gpu=True, seconds=0, counter=counting(lambda: 1.0)) is None


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_what_ticks_seldom_is_read_at_its_ticks(monkeypatch: pytest.MonkeyPatch, phase: float) -> None:
    """A GPU of 100 W whose counter ticks every 100 ms, and calls of 7 ms: within a tick and a call of 0.7 J a call.

    Read whenever a second began and ended, it would be off by up to a tenth of a second's joules.
    """
    clock = [phase / 10]
    monkeypatch.setattr("lstn.runtime.bench.power.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def run() -> None:
        clock[0] += 0.007

    energy = measure_energy(
        run, images=1, on_gpu=True, counter=counting(lambda: 100 * (int(clock[0] / 0.1 + 1e-9) / 10), "GPU")
    )
    assert energy is not None
    assert energy.joules_per_image == pytest.approx(0.7, rel=0.002)
    assert clock[0] >= SECONDS >= 5


class FakeNvidia:
    """libcuda and libnvidia-ml of a machine with two GPUs, which the two number in opposite orders."""

    BUSES = (b"0000:65:00.0", b"0000:17:00.0")  # CUDA's order

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, size: int, device: Any) -> int:  # noqa: N802
        text.value = self.BUSES[device.value]
        return 0

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:  # noqa: N802
        device._obj.value = index + 1
        return 0

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus: bytes, device: Any) -> int:  # noqa: N802
        device._obj.value = 1 + sorted(self.BUSES).index(bus)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, energy: Any) -> int:  # noqa: N802
        energy._obj.value = {1: 17_000, 2: 65_000}[device.value]
        return 0


def test_the_gpu_is_found_by_its_bus_and_not_by_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeNvidia())
    counter = gpu_counter()
    assert counter is not None
    assert counter() == 65.0
    found = find_counter(on_gpu=True)
    assert found is not None
    assert found.of == "GPU"


def monitor(root: Path, number: int, name: str, rails: dict[str, tuple[int, int]]) -> None:
    folder = root / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for index, (label, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
        (folder / f"in{index}_label").write_text(f"{label}\n")
        (folder / f"in{index}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{index}_input").write_text(f"{milliamperes}\n")


def test_a_jetsons_input_is_its_whole_power(tmp_path: Path) -> None:
    monitor(tmp_path, 0, "tmp451", {"VDD_IN": (1000, 1000)})
    monitor(tmp_path, 1, "ina3221", {"VDD_IN": (5000, 2000), "VDD_CPU_GPU_CV": (5000, 600), "VDD_SOC": (5000, 300)})
    watts = jetson_power(tmp_path)
    assert watts is not None
    assert watts() == 10.0


def test_the_rails_of_an_agx_orin_add_up(tmp_path: Path) -> None:
    monitor(
        tmp_path, 3, "ina3221", {"VDD_GPU_SOC": (20_000, 500), "VDD_CPU_CV": (20_000, 100), "VIN_SYS_5V0": (5000, 1000)}
    )
    monitor(tmp_path, 4, "ina3221", {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 200)})
    watts = jetson_power(tmp_path)
    assert watts is not None
    assert watts() == pytest.approx(10 + 2 + 5)


def test_other_monitors_are_no_jetsons(tmp_path: Path) -> None:
    assert jetson_power(tmp_path) is None
    monitor(tmp_path, 0, "ina3221", {"SOMETHING": (5000, 1000)})
    assert jetson_power(tmp_path) is None


def test_power_that_rises_in_a_straight_line() -> None:
    """From 0 to 10 W within 2 s: 10 J, however unevenly it is read."""
    integral = Integral()
    for at_s in (0.0, 0.1, 0.5, 0.6, 1.7, 2.0):
        integral.add(at_s, 5 * at_s)
    assert integral.joules == pytest.approx(10.0)


def test_a_thread_reads_it_and_ends() -> None:
    reads = []

    def watts() -> float:
        reads.append(time.perf_counter())
        return 5.0

    with integrated(watts) as joules:
        while len(reads) < 4:
            time.sleep(0.01)
        assert joules() > 0
    at_the_end = len(reads)
    time.sleep(0.05)
    assert len(reads) == at_the_end
    assert joules() == pytest.approx(5.0 * (reads[-1] - reads[0]), rel=0.2)
