import subprocess
import sys
from pathlib import Path

import pytest

from lstn.machine import memory
from lstn.machine.memory import available_bytes, batch_of, size


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GB left, and no limit."""
    for name in ("CGROUP", "MEMINFO", "OWN_CGROUP"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    (tmp_path / "CGROUP/a/b").mkdir(parents=True)
    (tmp_path / "MEMINFO").write_text("MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n")
    (tmp_path / "OWN_CGROUP").write_text("0::/a/b\n")
    return tmp_path


def limit(group: Path, most: str, used: int, cached: int) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_a_machine_without_limits_gives_what_it_has(machine: Path) -> None:
    assert available_bytes() == 8_192_000_000
    limit(machine / "CGROUP/a", "max", 5, 0)
    assert available_bytes() == 8_192_000_000


@pytest.mark.parametrize("group", [".", "a", "a/b"])
def test_the_narrowest_limit_holds_and_cached_files_do_not_count(machine: Path, group: str) -> None:
    limit(machine / "CGROUP" / group, "2000000000", 900_000_000, 400_000_000)
    assert available_bytes() == 1_500_000_000


def test_version_1_has_a_folder_of_its_own(machine: Path) -> None:
    (machine / "OWN_CGROUP").write_text("5:cpu:/x\n4:memory:/docker/7\n")
    group = machine / "CGROUP/memory/docker/7"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("3000")
    (group / "memory.usage_in_bytes").write_text("1000")
    (group / "memory.stat").write_text("total_inactive_file 100\n")
    assert available_bytes() == 2100


def test_more_than_the_limit_is_in_use(machine: Path) -> None:
    limit(machine / "CGROUP/a/b", "100", 900, 0)
    assert available_bytes() == 0


def test_a_system_that_says_nothing_is_not_guessed_at(machine: Path) -> None:
    (machine / "MEMINFO").unlink()
    (machine / "OWN_CGROUP").write_bytes(b"nonsense\n")
    assert available_bytes() is None


def test_this_machine_says_what_it_has() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from lstn.machine.memory import available_bytes; print(available_bytes())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) > 1 << 26


@pytest.mark.parametrize(
    ("image_hw", "most", "images"), [((224, 224), 64, 64), ((4096, 4096), 64, 1), ((1024, 1024), 64, 5), ((8, 8), 1, 1)]
)
def test_huge_images_are_computed_by_the_few(image_hw: tuple[int, int], most: int, images: int) -> None:
    assert batch_of(image_hw, most) == images


def test_a_size_in_words() -> None:
    assert (size(696.2e9), size(23.71e9), size(5e6)) == ("696 GB", "23.7 GB", "5 MB")
