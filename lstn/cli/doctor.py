"""`lstn doctor`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.health.run_files import run_folder
from lstn.health.run_health import describe, diagnose
from lstn.machine.capabilities import Ability, abilities, conflicts
from lstn.machine.version import __version__
from lstn.terminal import printable, warn

if TYPE_CHECKING:
    from rich.console import Console

    from lstn.machine.environment import Environment

_BESIDE = 84
"""From this width on, the reason stands beside its command."""


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="A run's folder, to be looked at instead.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Show what this machine or a run can do.

    Says what is missing for everything that this machine cannot do. With RUN, says how that training goes, and whether
    its transformer is alive.
    """
    if run is not None:
        folder = run_folder(run)
        found_in_run = diagnose(folder)
        lines = [json.dumps(asdict(found_in_run), indent=1)] if json_ else describe(found_in_run, folder)
        for line in lines:
            typer.echo(line if json_ else printable(line))
        return
    from rich.console import Console

    from lstn.machine.environment import LIBRARIES, describe_environment, find_providers

    environment = describe_environment()
    providers, problem = find_providers()
    able = abilities(environment.libraries, environment.gpus, providers)
    problems = [*conflicts(environment.libraries), *([problem] if problem else [])]
    if json_:
        found = {"environment": asdict(environment), "providers": providers}
        typer.echo(json.dumps(found | {"abilities": [asdict(each) for each in able], "problems": problems}, indent=1))
        return
    console = Console(highlight=False)
    _show_machine(console, environment)
    _show_abilities(console, able)
    present = [f"{name} {version}" for name, version in environment.libraries.items() if name != "lstn"]
    either = {"onnxruntime", "onnxruntime-gpu"} if providers else set()
    absent = [name for name in LIBRARIES if name not in environment.libraries and name not in either]
    _show_facts(
        console,
        {
            "libraries": ", ".join(present),
            "not installed": ", ".join(absent),
            "providers": ", ".join(name.removesuffix("ExecutionProvider") for name in providers) or "none",
        },
    )
    for problem in problems:
        warn(problem)


def _show_machine(console: "Console", environment: "Environment") -> None:
    gpus = [f"{gpu.name}, {gpu.target}, {gpu.memory_mib} MiB" for gpu in environment.gpus]
    driver = f"driver {environment.driver}" if environment.driver else "no NVIDIA driver"
    _show_facts(
        console,
        {
            "lstn": f"{__version__}, Python {environment.python}, {environment.system}",
            "CPU": f"{environment.cpu}, {environment.cores} cores",
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


def _show_facts(console: "Console", facts: dict[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), pad_edge=False)
    for name, value in facts.items():
        table.add_row(Text(name, style="dim"), Text(value))
    console.print(table)
