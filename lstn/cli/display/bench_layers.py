"""Display of `lstn bench --profile`: an engine's time by part of the model and by layer."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.cli.display.screen import show_sentence
from lstn.errors import UsageError
from lstn.files import write_text
from lstn.machine.gpu import Device
from lstn.report.wording import counted
from lstn.terminal import note, printable

if TYPE_CHECKING:
    from rich.console import Console

    from lstn.report.table import Table
    from lstn.runtime.bench.layer_times import Breakdown, LayerTime
    from lstn.runtime.bench.timed_engines import BenchResult, BenchSetup

_SLOWEST = 15
_OPERATORS = 2
_NODES = 4
_NARROW = 72
_MOST = 0.5
_BUSY = 0.1


def check_profiled(files: Sequence[Path], device: Device) -> None:
    """Refuse beforehand what would fail after the race.

    Raises:
        UsageError: an engine that can't be profiled.
    """
    from lstn.runtime.bench.profilers import PROFILERS

    for path in files:
        if path.is_file() and path.suffix.lower() not in PROFILERS:
            hint = "profile the ONNX file that it was made of" if path.suffix.lower() == ".xml" else ""
            raise UsageError(f"--profile: {path}: expected {' or '.join(PROFILERS)}", hint=hint)
        if path.suffix.lower() == ".onnx" and device is Device.CUDA:
            raise UsageError(
                f"--profile: on a GPU, ONNX Runtime's profiler times launches and not what {path} does",
                hint="add --device cpu, or profile a plan",
            )


def profile_results(results: Sequence["BenchResult"], setup: "BenchSetup", console: "Console") -> Iterator["Breakdown"]:
    """Show where the time of each engine goes, one by one."""
    from lstn.runtime.bench.layer_times import typical_ms
    from lstn.runtime.bench.profilers import profile_engine

    for result in results:
        note(f"profiling {result.path} at batch {result.batch}, up to {setup.seconds:.0f} s")
        breakdown = profile_engine(result.path, result.batch, setup)
        _show(breakdown, typical_ms(result.samples), console)
        yield breakdown


def write_trace(path: Path, breakdowns: Sequence["Breakdown"]) -> None:
    """Write a trace for chrome://tracing and Perfetto, unless nothing came to be profiled."""
    from lstn.runtime.bench.trace import chrome_trace

    if not breakdowns:
        return
    write_text(path, json.dumps(chrome_trace(breakdowns)))
    note(f"trace: {path}")


def _show(breakdown: "Breakdown", alone_ms: float, console: "Console") -> None:
    """Print two tables and what is to be known about them; alone_ms is the same call's time without a profiler."""
    from lstn.report.table import print_table
    from lstn.runtime.bench.layer_places import OTHER

    name = printable(str(breakdown.path))
    console.print(
        f"\n{name} at batch {breakdown.batch}, under {breakdown.via}'s profiler", markup=False, soft_wrap=True
    )
    about = (
        f"the faster {len(breakdown.calls)} of {counted(breakdown.ran, 'call')}: {breakdown.call_ms:.3f} ms each "
        f"({alone_ms:.3f} without the profiler), of which its layers explain {breakdown.explained:.1%}"
    )
    show_sentence(console, about, style="dim")
    print_table(console, _parts_table(breakdown))
    print_table(console, _layers_table(breakdown, narrow=console.width < _NARROW))
    added = sum(row.share for row in breakdown.layers)
    if abs(added - breakdown.explained) > _BUSY:
        what = (
            f"the machine was busy: taken one by one, the layers add up to {added:.1%} of a call; repeat it when quiet"
        )
        show_sentence(console, what, style="yellow")
    if breakdown.share_of(OTHER) > _MOST * breakdown.explained:
        what = f"most of the time is in layers that don't say where in the model they are: export {name} again"
        show_sentence(console, what, style="yellow")


def _parts_table(breakdown: "Breakdown") -> "Table":
    from lstn.report.table import Table

    rows = [(row.part, str(row.layers), f"{row.ms:.3f}", f"{row.share:.1%}") for row in breakdown.parts]
    outside = breakdown.outside_ms
    rows.append(("in no layer", "", f"{outside:.3f}", f"{outside / breakdown.call_ms:.1%}"))
    styles = (*("" for _ in breakdown.parts), "dim")
    return Table("", ("part", "layers", "ms", "share"), tuple(rows), styles=styles)


def _layers_table(breakdown: "Breakdown", *, narrow: bool) -> "Table":
    """A narrow terminal goes without the operators."""
    from lstn.report.table import Table

    shown = breakdown.layers[:_SLOWEST]
    title = f"slowest {len(shown)} of {len(breakdown.layers)}" if len(shown) < len(breakdown.layers) else "layer"
    rows, total = [], 0.0
    for row in shown:
        total += row.share
        words = (_named(row),) if narrow else (_named(row), _operators(row.operators))
        rows.append((*words, f"{row.ms:.3f}", f"{row.share:.1%}", f"{total:.1%}"))
    columns = (title, *(() if narrow else ("operator",)), "ms", "share", "sum")
    return Table("", columns, tuple(rows), words=1 if narrow else 2)


def _named(row: "LayerTime") -> str:
    """Begin with the part: for layers of the model their name does."""
    nodes = (row.layer or "").split(" + ")
    if len(nodes) > _NODES:
        nodes = [*nodes[:2], f"… {len(nodes) - 3} more …", nodes[-1]]
    name = printable(" + ".join(nodes))
    return name if name.startswith(row.part) else f"{row.part}: {name}"


def _operators(names: Sequence[str]) -> str:
    more = f", {len(names) - _OPERATORS} more" if len(names) > _OPERATORS else ""
    return printable(", ".join(names[:_OPERATORS])) + more
