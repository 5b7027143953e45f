"""The screen of every command: the console of its results, facts in two columns, and the bar of long work."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from lstn.terminal import messages, note, printable
from lstn.waiting import telling

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

FILE_WIDTH = 140
"""Columns of a table that goes to a file or a pipe, where nobody says how wide it is."""


def results(stream: TextIO | None = None) -> "Console":
    """Return the console of a command's results: standard output, or a file."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, emoji=False)
    said = console.file is sys.stdout and os.environ.get("COLUMNS", "").isdigit()
    if not console.file.isatty() and not said:
        console.width = FILE_WIDTH
    return console


def show_sentence(console: "Console", text: str, *, style: str = "") -> None:
    """Print a sentence: folded at words for a terminal, and for a file in one line, so that no path is cut."""
    console.print(text, style=style, markup=False, soft_wrap=console.width >= FILE_WIDTH)


def show_facts(console: "Console", facts: Mapping[str, str], *, right: bool = False) -> None:
    """Print names beside their values, which may be of several lines. right: values stand right, as numbers do."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", justify="right" if right else "left")
    for name, value in facts.items():
        lines = "\n".join(printable(line) for line in value.split("\n"))
        table.add_row(Text(printable(name), style="dim"), Text(lines))
    console.print(table)


def bar_of(*columns: "ProgressColumn") -> "Progress":
    """Return a bar of these columns for standard error, which only a terminal shows, and which goes when it ends."""
    from rich.progress import Progress

    return Progress(*columns, console=messages(), transient=True, disable=not messages().is_terminal)


@contextmanager
def phases(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show that `what` goes on until the end of the `with`; yield what hears the share that is done, and the phase."""
    from rich.markup import escape
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    if not messages().is_terminal:
        note(what)
    bar = bar_of(
        TextColumn(what), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    )
    task = bar.add_task("", total=1.0)
    shown = bar.tasks[0]
    with telling(lambda: f"{what}: {shown.completed:.0%} {shown.description}"), bar:
        yield lambda share, phase: bar.update(task, completed=share, description=escape(printable(phase)))
