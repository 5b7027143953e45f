"""The script for machines with a GPU, on one without."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_check.py"


def test_without_a_gpu_it_says_so_and_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lstn.machine.gpu.find_gpus", lambda: ())
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", str(tmp_path / "gpu-check.json")])
    with pytest.raises(SystemExit) as raised:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert raised.value.code == 1
    assert capsys.readouterr() == ("", "error: this machine shows no NVIDIA GPU, so there is nothing to check\n")
    assert list(tmp_path.iterdir()) == []


def test_its_benchmarks_are_there() -> None:
    named = runpy.run_path(str(SCRIPT))["BENCHMARKS"]
    assert named
    assert [name for name in named if not (SCRIPT.parents[1] / "benchmarks" / name).is_file()] == []
