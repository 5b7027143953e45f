"""`lstn doctor`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.screen import results, show_facts
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.old_spellings import OldJson, Printed, PrintedOption, wants_json
from lstn.cli.steps.diagnose_folder import diagnose_folder
from lstn.health.run_files import LAST, run_folder, unfinished
from lstn.health.run_health import METRICS, diagnose, diagnosis_text
from lstn.machine.capabilities import Ability, abilities, conflicts
from lstn.machine.version import __version__
from lstn.report.wording import counted
from lstn.terminal import printable, warn
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from rich.console import Console

    from lstn.machine.environment import Environment

_BESIDE = 84
"""From this width on, the reason stands beside its command."""


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(
            callback=from_zoo,
            metavar="RUN",
            help="A run's folder, to be looked at instead; with --data, any model, which may doubt labels.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Look at the images of folder:PATH instead.", show_default=False),
    ] = None,
    format_: PrintedOption = Printed.TEXT,
    json_: OldJson = False,
) -> None:
    """Check this machine, a run, or a data set.

    Says what is missing for everything that this machine cannot do. With RUN, says how that training goes, and whether
    its transformer is alive. With --data, finds copies of one picture, also between training and test images, classes
    out of balance and odd sizes; with both, also images that may be mislabelled.
    """
    as_json = wants_json(format_, json_)
    if data is not None:
        diagnose_folder(data, run, as_json=as_json)
        return
    if run is not None:
        _show_run(run_folder(run), as_json=as_json)
        return
    _show_here(as_json=as_json)


def _show_here(*, as_json: bool) -> None:
    """Show what this machine can do."""
    from lstn.machine.environment import describe_environment, find_cuda_problem, find_providers
    from lstn.nvidia_driver import CUDA_PROVIDER, find_driver

    environment, driver = describe_environment(), find_driver()
    providers, problem = find_providers()
    on_gpu = bool(environment.gpus) and CUDA_PROVIDER in providers
    cuda_problem = find_cuda_problem() if on_gpu else None
    able = abilities(environment.libraries, environment.gpus, providers, driver=driver, cuda_problem=cuda_problem)
    problems = [*conflicts(environment.libraries, driver), *([problem] if problem else [])]
    if as_json:
        found = {"environment": asdict(environment), "providers": providers}
        typer.echo(json.dumps(found | {"abilities": [asdict(each) for each in able], "problems": problems}, indent=1))
        return
    console = results()
    _show_machine(console, environment)
    _show_abilities(console, able)
    _show_libraries(console, environment, providers)
    for each in problems:
        warn(each)


def _show_run(folder: Path, *, as_json: bool) -> None:
    if (folder / LAST).is_file() and not (folder / METRICS).is_file():
        raise unfinished(folder)
    found = diagnose(folder, shown_path(folder))
    for line in [json.dumps(asdict(found), indent=1)] if as_json else diagnosis_text(found, folder):
        typer.echo(line if as_json else printable(line))


def _show_libraries(console: "Console", environment: "Environment", providers: Sequence[str]) -> None:
    from lstn.machine.environment import LIBRARIES

    present = [f"{name} {version}" for name, version in environment.libraries.items() if name != "lstn"]
    either = {"onnxruntime", "onnxruntime-gpu"} if providers else set()
    absent = [name for name in LIBRARIES if name not in environment.libraries and name not in either]
    show_facts(
        console,
        {
            "libraries": ", ".join(present),
            "not installed": ", ".join(absent),
            "providers": ", ".join(name.removesuffix("ExecutionProvider") for name in providers) or "none",
        },
    )


def _show_machine(console: "Console", environment: "Environment") -> None:
    gpus = [f"{gpu.name}, {gpu.target}, {gpu.memory_mib} MiB" for gpu in environment.gpus]
    driver = f"driver {environment.driver}" if environment.driver else "no NVIDIA driver"
    show_facts(
        console,
        {
            "lstn": f"{__version__}, Python {environment.python}, {environment.system}",
            "CPU": f"{environment.cpu}, {counted(environment.cores, 'core')}",
            "GPU": "; ".join([*(gpus or ["none"]), driver]),
        },
    )


def _show_abilities(console: "Console", able: Sequence[Ability]) -> None:
    """A mark and a word, since not everybody sees colours."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    beside = console.width >= _BESIDE
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for _ in range(3 if beside else 2):
        table.add_column(overflow="fold")
    for each in able:
        mark = Text("yes", style="green") if each.ready else Text("no", style="red")
        why = Text(each.reason, style="" if each.ready else "dim")
        if each.cure:
            why.append(f"\n{each.cure}", style="not dim")
        table.add_row(mark, *([each.command, why] if beside else [Text(f"{each.command}\n").append(why)]))
    console.print(Padding(table, (1, 0)))
