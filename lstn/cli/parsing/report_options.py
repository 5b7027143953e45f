"""`--json` and `--html`: the report of a measurement as a file, in every command that makes one."""

from pathlib import Path
from typing import Annotated

import typer

JsonReport = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write every figure there, and what was measured.")
]
HtmlReport = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a report there, one page that needs no network.")
]
