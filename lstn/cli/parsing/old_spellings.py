"""Options as the last release spelt them: they go on working for one release, with a note."""

from enum import Enum
from typing import Annotated

import typer

from lstn.terminal import note


class Printed(str, Enum):
    """How a command prints what it found."""

    TEXT = "text"
    JSON = "json"


PrintedOption = Annotated[Printed, typer.Option("--format", help="How it is printed; json has all of it.")]
OldJson = Annotated[bool, typer.Option("--json", hidden=True, help="As --format json.")]


def renamed(old: str, new: str) -> None:
    """Say how an option is spelt now."""
    note(f"{old} is spelt {new} now; the old spelling is to go with the next release")


def wants_json(format_: Printed, old: bool) -> bool:
    """Say whether JSON is to be printed, as `--format json` or the older `--json` ask for."""
    if old:
        renamed("--json", "--format json")
    return old or format_ is Printed.JSON
