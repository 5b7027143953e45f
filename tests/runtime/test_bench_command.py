import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import RunLstn
from fake_machine import MakeMachine
from fake_tensorrt import ROW_MS
from rich.console import Console
from tiny import MakeTiny, Tiny

from lstn.cli.display.bench_layers import _show as show_breakdown
from lstn.cli.display.bench_table import race_table
from lstn.files import sha256_of
from lstn.machine.gpu import Device
from lstn.report.table import print_table
from lstn.runtime.bench.layer_places import Layer
from lstn.runtime.bench.layer_times import Breakdown, Call, Span, summarize_calls
from lstn.runtime.bench.timed_engines import BenchSetup, bench

QUICK = ("--seconds", "0.1")


def setup(**changes: object) -> BenchSetup:
    fields = {"batches": (1,), "seconds": 0.02, "seed": 0, "device": Device.CPU, "threads": 1, "spin": False}
    return BenchSetup(**fields | changes)


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


def test_a_report_that_cant_be_written_is_refused_before_the_race(run_lstn: RunLstn, tiny: Tiny) -> None:
    ran = run_lstn("bench", tiny.path, *QUICK, "--json", tiny.path / "bench.json")
    assert (ran.code, ran.out) == (1, "")
    assert f"error: cannot write {tiny.path / 'bench.json'}" in ran.err


@pytest.mark.parametrize("batch", ["", "0", "1,,2", "one", "-1", "1.5", "9" * 9])
def test_batches_that_are_none_are_refused(run_lstn: RunLstn, tiny: Tiny, batch: str) -> None:
    ran = run_lstn("bench", tiny.path, f"--batch={batch}")
    assert ran.code == 2
    assert ("expected numbers of images from 1 to 999999" if batch else "expected a value") in ran.err


def test_a_batch_that_an_engine_cant_take_is_refused_before_anything_is_timed(run_lstn: RunLstn, tiny: Tiny) -> None:
    ran = run_lstn("bench", tiny.path, "--batch", "1,2000")
    assert ran.code == 2
    assert ran.err == f"error: --batch 2000: {tiny.path} takes batches of 1024 at most\n"


def test_a_plan_beside_an_onnx_file_says_what_it_lacks(
    run_lstn: RunLstn, tiny: Tiny, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstn.runtime.engines.plans.preflight.find_gpus", lambda: ())
    ran = run_lstn("bench", tiny.path, plan, *QUICK)
    assert ran.code == 1
    assert "a plan needs an NVIDIA GPU" in ran.err


def test_a_plan_tells_the_gpus_own_time(
    run_lstn: RunLstn, tiny: Tiny, make_machine: MakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # in a file a sentence is one line
    machine, file = make_machine(), tmp_path / "bench.json"
    ran = run_lstn("bench", tiny.path, machine.plan, "--batch", "1,4", "--device", "cpu", "--json", file, *QUICK)
    assert (ran.code, ran.err.count("error")) == (0, 0)
    assert f"{machine.plan} at batch 4: {4 * ROW_MS:.3f} ms on the GPU, without copies\n" in ran.out
    assert [row["gpu_ms"] for row in json.loads(file.read_text())["results"]] == [None, ROW_MS, None, 4 * ROW_MS]
    machine.check_all_given_back()


@pytest.mark.parametrize("width", [42, 60, 100])
def test_the_table_fits_the_terminal_and_cuts_no_number(make_tiny: MakeTiny, width: int) -> None:
    paths = [make_tiny(f"a-model-with-quite-a-long-name-{name}.onnx").path for name in "ab"]
    results = bench(paths, setup(batches=(1, 8)), tell=lambda text: None)
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    print_table(console, race_table(results, console.width))
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= width or line in map(str, paths) for line in lines)
    assert all(any(str(path) in line for line in lines) for path in paths)
    assert "…" not in stream.getvalue()
    assert all(f"{result.latency.p50_ms:.3f}" in stream.getvalue() for result in results)


NAMES = ("input/Cast", "input/Transpose", "backbone.pool/ReduceMean", "backbone.fc/MatMul")
THETA_NAMES = ("localizer.head/MatMul", "localizer.head/Add", "localizer/Reshape")


def name_nodes(model: onnx.ModelProto) -> None:
    for node, name in zip(model.graph.node, (*NAMES, *THETA_NAMES), strict=True):
        node.name = name


def without_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.name = ""


class TestProfile:
    def test_parts_come_first_then_layers_and_both_are_kept(
        self, run_lstn: RunLstn, make_tiny: MakeTiny, tmp_path: Path
    ) -> None:
        path, kept, trace = make_tiny(edit=name_nodes).path, tmp_path / "bench.json", tmp_path / "trace.json"
        ran = run_lstn("bench", path, "--batch", "1,4", "--profile", "--trace", trace, "--json", kept, *QUICK)
        assert ran.code == 0
        places = [ran.out.index(text) for text in ("under ONNX Runtime's profiler", "part ", "other", "layer ")]
        assert places == sorted(places)
        assert ran.out.count("in no layer") == 2
        assert "export" not in ran.out
        assert f"trace: {trace}" in ran.err
        profiles = json.loads(kept.read_text())["profiles"]
        assert [(each["path"], each["batch"], each["via"]) for each in profiles] == [
            (str(path), batch, "ONNX Runtime") for batch in (1, 4)
        ]
        for each in profiles:
            assert {"input", "localizer", "backbone", "other"} == {row["part"] for row in each["parts"]}
            assert {row["layer"] for row in each["layers"]} >= {"input", "localizer.head", "backbone.fc"}
            assert f"{each['call_ms']:.3f} ms each" in ran.out
            assert f"explain {each['explained']:.1%}" in " ".join(ran.out.split())
        events = json.loads(trace.read_text())["traceEvents"]
        processes = [event["args"]["name"] for event in events if event["name"] == "process_name"]
        assert processes == [f"{path}, batch {batch}, ONNX Runtime" for batch in (1, 4)]

    def test_a_model_whose_layers_have_no_names_is_to_be_exported_anew(
        self, run_lstn: RunLstn, make_tiny: MakeTiny, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("COLUMNS", raising=False)
        tiny = make_tiny(edit=without_names)
        ran = run_lstn("bench", tiny.path, "--profile", *QUICK)
        assert ran.code == 0
        assert f"export {tiny.path} again\n" in ran.out

    def test_without_it_nothing_is_profiled(self, run_lstn: RunLstn, tiny: Tiny, tmp_path: Path) -> None:
        ran = run_lstn("bench", tiny.path, "--json", tmp_path / "bench.json", *QUICK)
        assert "profil" not in ran.out + ran.err
        assert "profiles" not in json.loads((tmp_path / "bench.json").read_text())

    @pytest.mark.parametrize("spoilt", ["--trace", "--json"])
    def test_what_cant_be_written_any_more_costs_no_measurement(
        self, run_lstn: RunLstn, tiny: Tiny, tmp_path: Path, spoilt: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = {"--trace": tmp_path / "trace.json", "--json": tmp_path / "bench.json"}
        other = next(path for option, path in files.items() if option != spoilt)
        files[spoilt] = tmp_path / "gone" / "out.json"
        options = [word for pair in files.items() for word in pair]
        monkeypatch.setattr(
            "lstn.runtime.bench.timed_engines.bench", lambda *given, **named: gone(real(*given, **named))
        )
        real = bench

        def gone(results: object) -> object:
            files[spoilt].parent.write_text("a file, of somebody else, during the race")
            return results

        ran = run_lstn("bench", tiny.path, "--profile", *options, *QUICK)
        assert ran.code == 1
        assert f"error: cannot write {files[spoilt]}" in ran.err
        kept = json.loads(other.read_text())
        assert len(kept.get("profiles", kept.get("traceEvents"))) >= 1

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--trace", "t.json"), "error: --trace: only a profile can be traced\n  add --profile\n"),
            (("--profile", "--scenario", "offline"), "leave out --json, --against and --profile"),
            (("--profile", "--trace", "x.json", "--json", "./x.json"), "--json x.json and --trace x.json are one file"),
        ],
    )
    def test_options_that_exclude_each_other_are_refused(
        self, run_lstn: RunLstn, tiny: Tiny, options: tuple[str, ...], told: str
    ) -> None:
        ran = run_lstn("bench", tiny.path, *options)
        assert ran.code == 2
        assert told in ran.err
        assert ran.out == ""

    def test_what_has_no_usable_profiler_is_refused(
        self, run_lstn: RunLstn, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "model.xml").write_text("<net/>")
        ran = run_lstn("bench", tmp_path / "model.xml", "--profile")
        assert (ran.code, "expected .onnx or .plan" in ran.err) == (2, True)
        monkeypatch.setattr("lstn.runtime.engines.onnxruntime_engine.resolve_device", lambda device: Device.CUDA)
        ran = run_lstn("bench", tiny.path, "--profile")
        assert ran.code == 2
        assert "times launches" in ran.err
        assert "add --device cpu" in ran.err

    @pytest.mark.parametrize("width", [42, 60, 80, 120])
    def test_the_tables_fit_the_terminal_and_cut_no_number(self, width: int) -> None:
        fused = " + ".join(f"{part}.a_name_of_some_length.{i}/Conv" for i in range(9) for part in ("grid", "backbone"))
        names = [fused, *(f"backbone.features.denseblock{i}.denselayer{i}.conv2/Conv" for i in range(20))]
        names += ["\x1b[31mred\u202e", "localizer.head.1/Gemm"]
        spans = tuple(Span(Layer(name, "", name), 0, 100 + i / 8) for i, name in enumerate(names))
        found = self.shown(summarize_calls(Path("a\x1bb.onnx"), 8, "TensorRT", [Call(0, 2700, spans)], ()), width)
        lines = found.splitlines()
        # A terminal breaks a name itself that is longer than it is wide.
        assert all(len(line) <= width or any(line in name for name in names) for line in lines[2:])
        assert "\x1b" not in found
        assert "\u202e" not in found
        assert "slowest 15 of 23" in " ".join(found.split())
        for i in range(len(names) - 15, len(names)):
            assert f"{100 + i / 8:.3f}" in found
        assert (
            f"{100:.3f}" in found[: found.index("slowest")]
        )  # what is fused of several parts stays in the first table

    def test_of_many_fused_nodes_the_ends_are_named(self) -> None:
        name = " + ".join(["localizer.head/Gemm", *(f"grid/Mul_{i}" for i in range(7)), "sampler/GridSample"])
        spans = (Span(Layer(name, "", name), 0, 1.0),)
        found = self.shown(summarize_calls(Path("a.plan"), 1, "TensorRT", [Call(0, 2, spans)], ()), 200)
        assert "several: localizer.head/Gemm + grid/Mul_0 + … 6 more … + sampler/GridSample" in found

    def test_shares_add_up_from_line_to_line(self) -> None:
        layers = {"grid/Mul": 1.0, "backbone.a/Conv": 5.0, "sampler/GridSample": 2.5}
        spans = tuple(Span(Layer(name, "", name), 0, ms) for name, ms in layers.items())
        found = self.shown(summarize_calls(Path("a.plan"), 1, "TensorRT", [Call(0, 10, spans)], ()), 80)
        rows = [line.split() for line in found[found.index("operator") :].splitlines() if "%" in line]
        assert [(row[0], *row[-2:]) for row in rows] == [
            ("backbone.a", "50.0%", "50.0%"),
            ("sampler", "25.0%", "75.0%"),
            ("grid", "10.0%", "85.0%"),
        ]

    @pytest.mark.parametrize("busy", [False, True])
    def test_a_busy_machine_is_told(self, busy: bool) -> None:
        """One layer of each call is interrupted, each time another."""
        names = [f"backbone.l{i}/Conv" for i in range(5)]
        calls = []
        for interrupted in range(5):
            times = [10.0 if busy and index == interrupted else 1.0 for index in range(5)]
            spans = tuple(Span(Layer(name, "", name), 0, ms) for name, ms in zip(names, times, strict=True))
            calls.append(Call(0, sum(times), spans))
        found = " ".join(self.shown(summarize_calls(Path("a.plan"), 1, "TensorRT", calls, ()), 80).split())
        assert ("the machine was busy: taken one by one, the layers add up to 35.7% of a call" in found) is busy

    def shown(self, breakdown: Breakdown, width: int) -> str:
        stream = io.StringIO()
        show_breakdown(breakdown, 1.0, Console(file=stream, width=width))
        return stream.getvalue()
