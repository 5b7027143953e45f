"""The sink of the rows of `lstn infer`: the screen or a file, with a progress bar where it disturbs nothing."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lstn.cli.display.screen import results
from lstn.cli.parsing.infer_format import Format
from lstn.contract import Contract, Task
from lstn.files import replacing
from lstn.terminal import messages
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.runtime.inference.result_rows import ResultRow
    from lstn.runtime.inference.row_text import Write


@dataclass(slots=True)
class RowCount:
    """How many rows were written, hold an error, and were rejected."""

    written: int = 0
    failed: int = 0
    rejected: int = 0


def write_all(
    batches: Iterable[list["ResultRow"]], write: "Write", warps: Path | None, contract: Contract, count: RowCount
) -> None:
    """Write the rows, and a picture of each if `warps` is a folder; count them as they come."""
    from lstn.runtime.inference.warp_pictures import save_warp

    for rows in batches:
        write(rows)
        for row in rows:
            count.written += 1
            count.failed += bool(row.error)
            count.rejected += row.rejected
            if warps is not None:
                save_warp(row, warps, contract, number=count.written)


_DOING = {
    Task.CLASSIFY: "classifying",
    Task.TAG: "tagging",
    Task.DETECT: "looking for objects in",
    Task.READ: "reading",
    Task.ALIGN: "looking for a sentence in",
}
"""Total over `Task`, but GENERATE, which looks at no images."""


def doing(contract: Contract) -> str:
    """Return what a model does to images, in words."""
    return _DOING[contract.task]


@contextmanager
def sink(
    wanted: Format,
    output: Path | None,
    contract: Contract,
    names: Sequence[Path | str],
    top: int,
    *,
    what: str,
    total: int | None,
) -> Iterator["Write"]:
    """Yield what writes the rows of one batch and moves the progress bar on.

    names: what rows are called, or the longest of it, for the width of a table
    what, total: of the progress bar, as `lstn.waiting.working` has them
    """
    from lstn.runtime.inference.row_text import (
        csv_objects,
        csv_rows,
        csv_scores,
        csv_tags,
        json_lines,
        json_rows,
        table_rows,
    )

    reads, detects = contract.task is Task.READ, contract.task is Task.DETECT
    labels = (_longest_text(contract),) if reads else contract.labels  # as wide as what rows show
    most, name = (top, "text") if reads else (min(top, len(labels)), "label")

    with _destination(output) as stream:
        console = results(stream)
        on_screen = output is None and console.is_terminal
        # A bar lives below rich's own output only, so the table brings its console; other rows on a screen go without.
        bar = console if on_screen and wanted is Format.TABLE else messages()
        writers: dict[Format, Callable[[], AbstractContextManager[Write]]] = {
            Format.TABLE: lambda: table_rows(console, labels=labels, paths=names),
            Format.JSON: lambda: json_rows(stream),
            Format.JSONL: lambda: json_lines(stream),
            Format.CSV: lambda: csv_objects(stream) if detects else csv_rows(stream, top=most, name=name),
        }
        if contract.task is Task.ALIGN:
            writers[Format.CSV] = lambda: csv_scores(stream)
        if contract.task is Task.TAG:
            writers[Format.CSV] = lambda: csv_tags(stream)
        hidden = on_screen and bar is not console
        with writers[wanted]() as write, working(what, total, console=bar, hidden=hidden) as advance:

            def write_and_advance(rows: Sequence["ResultRow"]) -> None:
                write(rows)
                advance(len(rows))

            yield write_and_advance


def _longest_text(contract: Contract) -> str:
    return contract.separator.join([max(contract.labels, key=len)] * contract.warps)


@contextmanager
def _destination(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        yield stream
