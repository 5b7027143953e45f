import os
from pathlib import Path

import pytest

from lstn.machine.cores import core_quota, share_cores, usable_cores


@pytest.fixture(autouse=True)
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("lstn.machine.cores.CGROUP", tmp_path)
    return tmp_path


def test_the_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("max 100000\n", None),
        ("-1 100000\n", None),
        ("inf 100000\n", None),
        ("nan 100000\n", None),
        ("200000 0\n", None),
        ("200000\n", None),
        ("", None),
    ],
)
def test_a_containers_quota_is_read_in_both_versions(text: str, cores: int | None, cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text(text)
    assert core_quota() == cores
    (cgroup / "cpu.max").unlink()
    assert core_quota() is None
    quota, _, period = text.partition(" ")
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    assert core_quota() is None
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(period)
    assert core_quota() == cores


def test_a_quota_hides_cores_and_makes_none(cgroup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    (cgroup / "cpu.max").write_text("200000 100000")
    assert usable_cores() == 2
    (cgroup / "cpu.max").write_text("12800000 100000")
    assert usable_cores() == 64


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, {"GOMP_SPINCOUNT": "5000"}), ({"OMP_WAIT_POLICY": "active"}, {}), ({"GOMP_SPINCOUNT": "7"}, {})],
)
def test_waiting_threads_spin_briefly_unless_a_user_says_otherwise(
    given: dict[str, str], wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"OMP_NUM_THREADS": "1"} | given
    monkeypatch.setattr(os, "environ", environment.copy())
    share_cores()
    assert os.environ == environment | wanted
