import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from tiny import Tiny

from lstn.errors import ArtifactError, UsageError
from lstn.machine.environment import describe_environment
from lstn.machine.gpu import Device
from lstn.runtime.bench.against import Change, compare_with, read_kept
from lstn.runtime.bench.latency import summarize
from lstn.runtime.bench.timed_engines import BenchResult, BenchSetup, bench_report

SETUP = BenchSetup((1,), 1.0, 0, Device.CPU, 1, spin=False)


def result(scale: float, *, seed: int, batch: int = 1, name: str = "model.onnx") -> BenchResult:
    samples = scale * np.random.default_rng(seed).normal(10, 0.3, size=60)
    return BenchResult(Path("somewhere") / name, batch, summarize(samples), None, samples)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(bench_report([result(1.0, seed=0)], SETUP, describe_environment()) | {"files": {}}))
    return path


@pytest.fixture(autouse=True)
def no_file_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstn.runtime.bench.timed_engines.sha256_of", lambda path: "")


def compared(kept: Path, results: list[BenchResult], setup: BenchSetup) -> list[Change]:
    return compare_with(read_kept(kept, [each.path for each in results], setup), results, setup)


@pytest.mark.parametrize(("scale", "slower"), [(0.7, False), (1.0, False), (1.04, False), (1.09, True), (2.0, True)])
def test_slower_is_what_lies_beyond_the_tolerance_with_all_of_its_interval(
    kept: Path, scale: float, slower: bool
) -> None:
    (change,) = compared(kept, [result(scale, seed=1)], SETUP)
    assert change.ratio.low <= scale * 1.01
    assert change.ratio.high >= scale * 0.99
    assert change.slower(0.05) is slower
    assert not change.slower(2.0)


def test_other_threads_or_devices_are_no_comparison(kept: Path) -> None:
    other = BenchSetup((1,), 1.0, 0, Device.CPU, 2, spin=False)
    with pytest.raises(UsageError, match="with threads 1, this run with 2"):
        compared(kept, [result(1.0, seed=1)], other)


def test_what_was_not_timed_then_is_told(kept: Path) -> None:
    with pytest.raises(UsageError, match=r"has no model\.onnx at batch 8") as caught:
        compared(kept, [result(1.0, seed=1)], replace(SETUP, batches=(1, 8)))
    assert caught.value.hint == "it has model.onnx at batch 1"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1}', '{"version": 1, "setup": {}, "results": [{"path": "a"}]}']
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ArtifactError, match="not a run of lstn bench"):
        compared(tmp_path / "x.json", [], SETUP)


def test_the_command_gates(run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    quick = ("bench", tiny.path, "--seconds", "0.1")
    assert run_lstn(*quick, "--save", kept).code == 0
    same = run_lstn(*quick, "--against", kept, "--tolerance", "50")
    assert same.code == 0, same.err
    assert f"{tiny.path} at batch 1: " in same.out
    fast = json.loads(kept.read_text())
    fast["results"][0]["samples_ms"] = [time / 100 for time in fast["results"][0]["samples_ms"]]
    kept.write_text(json.dumps(fast))
    slower = run_lstn(*quick, "--against", kept)
    assert slower.code == 1
    assert "1 of 1 grew slower" in slower.err
    missing = run_lstn(*quick, "--against", tmp_path / "none.json")
    assert missing.code == 2
    assert "none.json: no such file" in missing.err


@pytest.mark.parametrize(("kept", "says"), [("gone.json", "no such file"), ("wrong.json", "not a run of lstn bench")])
def test_what_cant_be_compared_with_is_said_before_anything_is_timed(
    run_lstn: RunLstn, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str, says: str
) -> None:
    (tmp_path / "wrong.json").write_text('{"hello": 1}')
    monkeypatch.setattr("lstn.runtime.bench.timed_engines.measure_latency", None)
    ran = run_lstn("bench", tiny.path, "--against", tmp_path / kept, "--save", tmp_path / "new.json")
    assert ran.code in (1, 2)
    assert says in ran.err.lower()
    assert not (tmp_path / "new.json").exists()
