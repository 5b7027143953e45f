"""`lstn bench`."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.bench_layers import check_profiled, profile_results, write_trace
from lstn.cli.display.bench_table import race_table, throughput_table
from lstn.cli.display.screen import results, show_sentence
from lstn.cli.parsing.batch_sizes import batch_sizes
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.engine_choice import EngineThreads, chosen_engines, from_zoo
from lstn.cli.parsing.old_spellings import renamed
from lstn.cli.parsing.report_options import JsonReport
from lstn.errors import LstnError, UsageError
from lstn.files import write_text
from lstn.formats.outputs import BENCH, TRACE, check_outputs, files_of, wanted_output
from lstn.formats.plan_file import read_header
from lstn.machine.gpu import Device, engine_device
from lstn.machine.scenario import Scenario
from lstn.report.wording import counted
from lstn.terminal import note, printable
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.machine.environment import Environment
    from lstn.runtime.bench.against import Kept
    from lstn.runtime.bench.layer_times import Breakdown
    from lstn.runtime.bench.timed_engines import BenchResult, BenchSetup

_FEW_ROUNDS = 100


def bench(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            callback=from_zoo,
            help="Engines to time against the first; of a run, its ONNX file, which is made first; or zoo:NAME.",
            metavar="FILE|RUN",
            show_default="the one engine here, else the newest run",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,…", help="Images a call; one comparison for each.")] = "1",
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.1, max=3600, help="To time each file at each batch size.")
    ] = 5.0,
    device: DeviceName = "auto",
    threads: EngineThreads = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of images, order and intervals.")] = 0,
    json_: JsonReport = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", hidden=True, help="As --json.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Fail if a latency grew since this run, which --json kept.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", min=0, help="How much a latency may grow, beyond its interval.")
    ] = 0.05,
    scenario: Annotated[
        Scenario | None, typer.Option(help="Let MLPerf's LoadGen send the images, in place of the race.")
    ] = None,
    throughput: Annotated[
        bool, typer.Option("--throughput", help="Measure images/s with two batches under way, in place of latency.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Then run each alone under its profiler: time by part and by layer.")
    ] = False,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the profiles there, for chrome://tracing or Perfetto.")
    ] = None,
) -> None:
    """Compare how fast models are.

    All models are open at once and run in turns, in a new order each round, so that other work on the machine affects
    all alike. The last column compares medians with the first file's; its 95 % interval is a paired bootstrap.
    --throughput measures images/s with two batches under way, copies included, as trtexec does with --infStreams=2.
    With --against, the exit code is 1 if the whole interval of a median is beyond the old one and the tolerance.
    """
    from lstn.runtime.bench.timed_engines import BenchSetup
    from lstn.runtime.engines.onnxruntime_engine import resolve_device

    if save is not None:
        renamed("--save", "--json")
    where, json_, batches, files = engine_device(device), json_ or save, batch_sizes(batch), chosen_engines(files)
    if any(path.suffix.lower() == ".onnx" for path in files):
        where = resolve_device(where)
    setup = BenchSetup(batches, seconds, seed, where, threads, spin=len(files) == 1)
    _check_outputs(files, json_, trace, against)
    if profile:
        check_profiled(files, where)
    elif trace is not None:
        raise UsageError("--trace: only a profile can be traced", hint="add --profile")
    if throughput:
        _measure_throughput(files, setup, json_, alone=against is None and scenario is None and not profile)
        return
    if scenario is None:
        _race(files, setup, json_, against, tolerance, trace, profile=profile)
        return
    if json_ is not None or against is not None or profile:
        what = "leave out --json, --against and --profile"
        raise UsageError("--scenario keeps nothing, compares nothing and profiles nothing", hint=what)
    _run_loads(files, setup, scenario)


def _race(
    files: Sequence[Path],
    setup: "BenchSetup",
    json_: Path | None,
    against: Path | None,
    tolerance: float,
    trace: Path | None,
    *,
    profile: bool,
) -> None:
    from lstn.machine.environment import describe_environment
    from lstn.runtime.bench.against import read_kept
    from lstn.runtime.bench.timed_engines import bench as run_bench

    kept = None if against is None else read_kept(against, files, setup)
    environment = describe_environment()
    breakdowns: list[Breakdown] = []
    measured = run_bench(files, setup, tell=lambda text: note(printable(text)))  # a spinner would take part in the race
    with ExitStack() as writing:  # whichever of them can't be written, the others keep the measurement
        if trace is not None:
            writing.callback(write_trace, trace, breakdowns)
        if json_ is not None:
            writing.callback(_save, json_, measured, setup, environment, breakdowns if profile else None)
        _show(measured, environment, setup.device)
        if profile:
            for breakdown in profile_results(measured, setup, results()):
                breakdowns.append(breakdown)
    if kept is not None:
        _compare(kept, measured, setup, tolerance)


def _measure_throughput(files: Sequence[Path], setup: "BenchSetup", json_: Path | None, *, alone: bool) -> None:
    """alone: whether nothing else is asked for, which this doesn't do."""
    from lstn.machine.environment import describe_environment
    from lstn.report.table import print_table
    from lstn.runtime.bench.throughput import measure_throughput, report_throughput

    if not alone:
        raise UsageError("--throughput: not with --against, --profile or --scenario", hint="leave them out")
    environment = describe_environment()
    found = measure_throughput(files, setup, tell=lambda text: note(printable(text)))
    if json_ is not None:
        write_text(json_, json.dumps(report_throughput(found, setup, environment)))
        note(f"every sample: {json_}")
    show_sentence(results(), _where([each.path for each in found], environment, setup.device), style="dim")
    print_table(results(), throughput_table(found))


def _check_outputs(files: Sequence[Path], json_: Path | None, trace: Path | None, against: Path | None) -> None:
    outputs = (wanted_output("--json", json_, BENCH), wanted_output("--trace", trace, TRACE))
    check_outputs(
        outputs, inputs=[*(each for file in files for each in files_of(file)), *([against] if against else [])]
    )


def _save(
    path: Path,
    results: Sequence["BenchResult"],
    setup: "BenchSetup",
    environment: "Environment",
    breakdowns: Sequence["Breakdown"] | None,
) -> None:
    from lstn.runtime.bench.layer_times import report_breakdown
    from lstn.runtime.bench.timed_engines import bench_report

    profiles = {} if breakdowns is None else {"profiles": [report_breakdown(each) for each in breakdowns]}
    write_text(path, json.dumps(bench_report(results, setup, environment) | profiles))
    note(f"every sample: {path}")


def _compare(kept: "Kept", results: Sequence["BenchResult"], setup: "BenchSetup", tolerance: float) -> None:
    """Say how each median moved since the run in `kept`.

    Raises:
        LstnError: one grew by more than the tolerance, beyond doubt.
    """
    from lstn.runtime.bench.against import compare_with

    changes = compare_with(kept, results, setup)
    for change in changes:
        typer.echo(f"{shown_path(change.path)} at batch {change.batch}: {change.ratio} times as long as in {kept.path}")
    if slower := [change for change in changes if change.slower(tolerance)]:
        worst = max(slower, key=lambda change: change.ratio.low)
        raise LstnError(
            f"{len(slower)} of {len(changes)} grew slower than {kept.path} by more than {tolerance:.1%}; the most "
            f"{shown_path(worst.path)} at batch {worst.batch}, {worst.ratio} times as long"
        )


def _run_loads(files: Sequence[Path], setup: "BenchSetup", scenario: Scenario) -> None:
    from lstn.runtime.bench.loadgen import run_load
    from lstn.runtime.engines.opening import open_engine

    for path in files:
        note(printable(f"{shown_path(path)}: LoadGen's {scenario.value}, about {setup.seconds:.0f} s"))
        with open_engine(path, device=setup.device, threads=setup.threads) as engine:
            found = run_load(engine, scenario, seconds=setup.seconds, batch=max(setup.batches), seed=setup.seed)
        typer.echo(
            f"{printable(shown_path(path))}: {'VALID' if found.valid else 'INVALID'} by LoadGen, {scenario.value}"
        )
        for line in (*found.reasons, *(f"{name}: {value}" for name, value in found.figures.items())):
            typer.echo(f"  {line}")


def _show(measured: Sequence["BenchResult"], environment: "Environment", device: Device) -> None:
    from lstn.report.table import print_table

    console = results()
    show_sentence(console, _where([result.path for result in measured], environment, device), style="dim")
    print_table(console, race_table(measured, console.width))
    for result in measured:
        if result.gpu_ms is not None:
            figure = f"{result.gpu_ms:.3f} ms on the GPU, without copies"
            text = f"{printable(shown_path(result.path))} at batch {result.batch}: {figure}"
            show_sentence(console, text, style="dim")
        if result.symbol_ms is not None:
            figure = f"{result.symbol_ms:.3f} ms a symbol, of {result.steps} that an image may have"
            text = f"{printable(shown_path(result.path))} at batch {result.batch}: {figure}"
            show_sentence(console, text, style="dim")
        if result.energy is not None:
            figure = f"{result.energy.joules_per_image:.3g} J an image, all that the {result.energy.of} used"
            text = f"{printable(shown_path(result.path))} at batch {result.batch}: {figure}"
            show_sentence(console, text, style="dim")
    if any(result.latency.rounds < _FEW_ROUNDS for result in measured):
        note(f"p99 of fewer than {_FEW_ROUNDS} rounds is little more than the slowest one; use more --seconds")


def _where(files: Sequence[Path], environment: "Environment", device: Device) -> str:
    gpus = ", ".join(f"{gpu.name} ({gpu.target})" for gpu in environment.gpus) or "no GPU"
    used = {name for file in files for name in _libraries(file)}
    libraries = [f"{name} {version}" for name, version in environment.libraries.items() if name in used]
    load = "" if environment.load is None else f", load {environment.load} at the start"
    onnx = f"; ONNX models on {device.value}" if "onnxruntime" in used and device is not Device.AUTO else ""
    return f"{environment.cpu}, {counted(environment.cores, 'core')}{load}; {gpus}{onnx}; {', '.join(libraries)}"


def _libraries(engine: Path) -> tuple[str, ...]:
    """Name what may run an engine, as `lstn.machine.environment` does."""
    if engine.suffix.lower() == ".plan":
        return (read_header(engine).flavour.module.replace("_", "-"),)
    return ("openvino",) if engine.suffix.lower() == ".xml" else ("onnxruntime", "onnxruntime-gpu")
