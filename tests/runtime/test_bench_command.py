import io
import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from rich.console import Console
from tiny import MakeTiny, Tiny

from lstn.commands.bench import _table
from lstn.files import sha256_of
from lstn.gpu import Device
from lstn.runtime.bench import Setup, bench

QUICK = ("--seconds", "0.1")


def setup(**changes: object) -> Setup:
    fields = {"batches": (1,), "seconds": 0.02, "seed": 0, "device": Device.CPU, "threads": 1, "spin": False}
    return Setup(**fields | changes)


def test_every_engine_runs_at_every_batch_in_the_same_rounds(make_tiny: MakeTiny) -> None:
    paths = [make_tiny(f"{name}.onnx", seed=index).path for index, name in enumerate("abc")]
    told: list[str] = []
    results = bench(paths, setup(batches=(1, 8)), tell=told.append)
    assert [(result.batch, result.path.name) for result in results] == [
        (batch, f"{name}.onnx") for batch in (1, 8) for name in "abc"
    ]
    for batch in (1, 8):
        rounds = {len(result.samples) for result in results if result.batch == batch}
        assert len(rounds) == 1
        assert rounds.pop() >= 5
    assert [result.ratio is None for result in results] == [True, False, False] * 2
    assert told == ["timing 3 at batch 1, about 0 s", "timing 3 at batch 8, about 0 s"]


def test_throughput_follows_from_the_mean(tiny: Tiny) -> None:
    (result,) = bench([tiny.path], setup(batches=(4,)), tell=lambda text: None)
    assert result.images_per_s == pytest.approx(4000 / result.samples.mean())
    assert result.latency.p50_ms == np.median(result.samples)


def test_the_report_keeps_every_sample_and_says_where_they_come_from(
    run_lstn: RunLstn, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    first, second = make_tiny("first.onnx").path, make_tiny("second.onnx", seed=1).path
    file = tmp_path / "bench.json"
    ran = run_lstn("bench", first, second, "--batch", "1,8", "--threads", 2, "--json", file, *QUICK)
    assert ran.code == 0
    report = json.loads(file.read_text())
    assert report["setup"] == {
        "batches": [1, 8],
        "seconds": 0.1,
        "seed": 0,
        "device": "cpu",
        "threads": 2,
        "spin": False,
    }
    assert report["files"] == {str(path): sha256_of(path) for path in (first, second)}
    environment = report["environment"]
    assert environment["cpu"]
    assert environment["cores"] >= 1
    assert environment["libraries"]["numpy"] == np.__version__
    assert [(row["path"], row["batch"]) for row in report["results"]] == [
        (str(path), batch) for batch in (1, 8) for path in (first, second)
    ]
    for row in report["results"]:
        assert row["rounds"] == len(row["samples_ms"])
        assert row["p50_ms"] == pytest.approx(np.median(row["samples_ms"]))
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    ratio = report["results"][1]["ratio"]
    assert report["results"][0]["ratio"] is None
    assert ratio["value"] == pytest.approx(report["results"][1]["p50_ms"] / report["results"][0]["p50_ms"])


def test_the_table_has_a_line_for_each(run_lstn: RunLstn, make_tiny: MakeTiny) -> None:
    paths = [make_tiny(f"{name}.onnx").path for name in "ab"]
    ran = run_lstn("bench", *paths, *QUICK)
    assert ran.code == 0
    assert "time, first = 1" in ran.out
    assert "ONNX models on cpu" in ran.out
    assert "timing 2 at batch 1" in ran.err


def test_a_report_that_cant_be_written_costs_no_measurement(run_lstn: RunLstn, tiny: Tiny) -> None:
    ran = run_lstn("bench", tiny.path, *QUICK, "--json", tiny.path / "bench.json")
    assert ran.code == 1
    assert "time, first = 1" in ran.out
    assert f"error: cannot write {tiny.path / 'bench.json'}" in ran.err


@pytest.mark.parametrize("batch", ["", "0", "1,,2", "one", "-1", "1.5", "9" * 9])
def test_batches_that_are_none_are_refused(run_lstn: RunLstn, tiny: Tiny, batch: str) -> None:
    ran = run_lstn("bench", tiny.path, f"--batch={batch}")
    assert ran.code == 2
    assert "wanted numbers of images" in ran.err


def test_a_batch_that_an_engine_cant_take_is_refused_before_anything_is_timed(run_lstn: RunLstn, tiny: Tiny) -> None:
    ran = run_lstn("bench", tiny.path, "--batch", "1,2000")
    assert ran.code == 2
    assert ran.err == f"error: --batch 2000: {tiny.path} takes 1024 images at most\n"


def test_a_plan_beside_an_onnx_file_says_what_it_lacks(
    run_lstn: RunLstn, tiny: Tiny, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstn.runtime.preflight.find_gpus", lambda: ())
    ran = run_lstn("bench", tiny.path, plan, *QUICK)
    assert ran.code == 1
    assert "a plan needs an NVIDIA GPU" in ran.err


@pytest.mark.parametrize("width", [42, 60, 100])
def test_the_table_fits_the_terminal_and_cuts_no_number(make_tiny: MakeTiny, width: int) -> None:
    paths = [make_tiny(f"a-model-with-quite-a-long-name-{name}.onnx").path for name in "ab"]
    results = bench(paths, setup(batches=(1, 8)), tell=lambda text: None)
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    console.print(_table(results, console))
    assert max(map(len, stream.getvalue().splitlines())) <= width
    assert "…" not in stream.getvalue()
    assert all(f"{result.latency.p50_ms:.3f}" in stream.getvalue() for result in results)
