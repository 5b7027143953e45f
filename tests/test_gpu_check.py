"""The benchmark for machines with a GPU, on one without."""

from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.__main__ import benchmarks
from lstn.errors import DeviceError


def test_without_a_gpu_it_says_so_and_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "find_gpus", lambda: ())
    with pytest.raises(DeviceError, match="this machine shows no NVIDIA GPU, so there is nothing to check"):
        gpu_check.main(["--out", str(tmp_path / "gpu-check.json")])
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_its_benchmarks_are_there() -> None:
    assert gpu_check.BENCHMARKS
    assert set(gpu_check.BENCHMARKS) <= set(benchmarks())
