from pathlib import Path

import pytest

from lstn.runtime.bench.power import cpu_counter, measure_energy


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


def test_joules_are_shared_among_the_images() -> None:
    used = [0.0]

    def run() -> None:
        used[0] += 12.0

    energy = measure_energy(run, images=8, on_gpu=False, seconds=0.001, counter=lambda: used[0])
    assert energy is not None
    assert energy.joules_per_image == pytest.approx(1.5)
    assert energy.of == "CPU"
    assert measure_energy(lambda: None, images=1, on_gpu=True, seconds=0, counter=lambda: 1.0) is None
