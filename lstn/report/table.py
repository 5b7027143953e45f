"""A table: one value that a terminal and a web page both draw."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns. words: how many columns hold words, which stand left; numbers stand right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""


def print_table(console: "Console", table: Table) -> None:
    """Print a table, its title above and its note below."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, column in enumerate(table.columns):
        left = index < table.words
        drawn.add_column(column, justify="left" if left else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(table.title, style="bold", markup=False)
    console.print(drawn)
    if table.note:
        console.print(table.note, style="dim", markup=False)
    console.print()
