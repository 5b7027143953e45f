"""A table: one value that a terminal and a web page both draw, and Markdown's spelling of one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lstn.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console

_GAP, _EDGE = 3, 2
_NARROW_GAP = "  "


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns. A row of empty cells separates those above it from those below.

    words:  how many columns hold words, which stand left; numbers stand right
    styles: of each row in a terminal, such as `green`; none: plain
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""
    styles: tuple[str, ...] = ()


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]], *, words: int = 1) -> str:
    """Return a table in Markdown, without a line break at its end.

    words: how many columns hold words, which stand left; numbers stand right
    """
    rule = ["---" if index < words else "---:" for index in range(len(columns))]
    lines = [f"| {' | '.join(map(_markdown_cell, cells))} |" for cells in (columns, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def _markdown_cell(cell: object) -> str:
    return " ".join(str(cell).replace("|", "\\|").split())


def print_table(console: "Console", table: Table) -> None:
    """Print a table, its title above and its note below.

    Of a table without rows the title and the note are all. Where it is too wide for the terminal, the words of each row
    get a line of their own, and no name is cut in pieces.
    """
    if table.title:
        console.print(printable(table.title), style="bold", markup=False)
    if table.rows:
        _print_rows(console, replace(table, rows=tuple(tuple(map(printable, row)) for row in table.rows)))
    if table.note:
        console.print(table.note, style="dim", markup=False)
    console.print()


def _print_rows(console: "Console", table: Table) -> None:
    widths = _widths((table.columns, *table.rows))
    if sum(widths) + _GAP * (len(widths) - 1) + _EDGE <= console.width:
        _print_wide(console, table)
    else:
        _print_narrow(console, table, widths[table.words :])


def _print_wide(console: "Console", table: Table) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="left" if index < table.words else "right", no_wrap=True)
    for number, row in enumerate(table.rows):
        drawn.add_row(*(Text(cell) for cell in row), style=_style(table, number))
    console.print(drawn)


def _print_narrow(console: "Console", table: Table, widths: Sequence[int]) -> None:
    from rich.text import Text

    headings = table.columns[table.words :]
    aligned = sum(widths) + len(_NARROW_GAP) * len(widths) <= console.width
    console.print(Text(_joined(table.columns[: table.words])), style="dim")
    if aligned:
        console.print(Text(_aligned(headings, widths)), style="dim", soft_wrap=True)
    for number, row in enumerate(table.rows):
        names, figures = row[: table.words], row[table.words :]
        name = _joined(names)
        console.print(Text(name), style=_style(table, number), soft_wrap=" " not in name)
        if not any(row):
            continue
        pairs = ", ".join(f"{heading} {figure}" for heading, figure in zip(headings, figures, strict=True) if figure)
        shown = Text(_aligned(figures, widths) if aligned else f"{_NARROW_GAP}{pairs}")
        console.print(shown, style=_style(table, number), soft_wrap=aligned)


def _aligned(figures: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{_NARROW_GAP}{figure:>{width}}" for figure, width in zip(figures, widths, strict=True))


def _joined(names: Sequence[str]) -> str:
    return _NARROW_GAP.join(name for name in names if name)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _style(table: Table, row: int) -> str:
    return table.styles[row] if table.styles else ""
