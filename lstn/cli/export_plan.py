"""The plan's half of `lstn export`: its options, read before anything is made, and the build."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from lstn.errors import LstnError, UsageError
from lstn.formats.plan_file import Flavour, sidecar_path
from lstn.terminal import file_size, messages, note, printable
from lstn.waiting import telling

if TYPE_CHECKING:
    from lstn.export.tensorrt.build_progress import ReportProgress
    from lstn.export.tensorrt.tuning import BuildSettings, Tuning


def look_ahead(
    flavour: Flavour, batch: list[str], target: str, tuning: "Tuning", build_log: Path | None, *, elsewhere: bool
) -> tuple["BuildSettings", LstnError | None]:
    """Return the settings of a build, and what this machine lacks for it, which is no reason to stop yet.

    elsewhere: the plan is to be built on another machine, about which nothing is known

    Raises:
        UsageError: an option makes no sense, alone or with this flavour or GPU.
    """
    from lstn.export.tensorrt.targets import choose_targets
    from lstn.export.tensorrt.to_plan import parse_batches, parse_targets
    from lstn.export.tensorrt.tuning import BuildSettings, check_tuning

    profiles, targets, obstacle = parse_batches(batch), parse_targets(target), None
    try:
        targets = () if elsewhere and not targets else choose_targets(flavour, targets)
    except UsageError:
        raise
    except LstnError as error:
        obstacle = error
    settings = BuildSettings(flavour=flavour, profiles=profiles, targets=targets, tuning=tuning, log_file=build_log)
    check_tuning(settings)
    return settings, obstacle


def export_plan(onnx_file: Path, plan: Path, settings: "BuildSettings") -> None:
    """Build a plan under a bar, and print what it is."""
    from lstn.export.tensorrt.to_plan import write_plan

    with _build_bar(f"building for {', '.join(settings.targets)}") as report:
        made = write_plan(onnx_file, plan, settings, report=report)
    what = f"{made.flavour.product} {made.version}, {made.precision}, {', '.join(made.targets)}"
    typer.echo(f"{plan}  {file_size(plan)}  {what}, batch {made.batches}")
    sidecar = sidecar_path(plan)
    typer.echo(f"{sidecar}  {file_size(sidecar)}  what {plan.name} is; keep the two together")
    if (log := settings.log_file) is not None:
        typer.echo(f"{log}  {file_size(log)}  what TensorRT said of the build")


@contextmanager
def _build_bar(what: str) -> Iterator["ReportProgress"]:
    """Show how far a build is, and the phase that it is in."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    if not messages().is_terminal:
        note(what)
    bar = Progress(*columns, console=messages(), transient=True, disable=not messages().is_terminal)
    task = bar.add_task("", total=1.0)
    shown = bar.tasks[0]
    with telling(lambda: f"{what}: {shown.completed:.0%} {shown.description}"), bar:
        yield lambda share, phase: bar.update(task, completed=share, description=escape(printable(phase)))
