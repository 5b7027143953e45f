"""Rows -> text, batch by batch as they come, so that no number of images fills the memory.

JSON keeps every name exactly, in ASCII. CSV and tables show control characters escaped, so that one row is one line and
a file's name can't drive a terminal; and no cell of the CSV starts like a formula.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, TypeAlias

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from lstn.evaluation.answer import Guess
from lstn.runtime.inference.result_rows import ResultRow
from lstn.terminal import printable

Write: TypeAlias = Callable[[Sequence[ResultRow]], None]
"""Takes the rows of one batch."""

_FORMULA = ("=", "+", "-", "@")
_BAR = 10
_PERCENT = len("100.0 %")
_MIN_PATH, _MIN_LABEL = 12, 8


@contextmanager
def json_rows(stream: TextIO) -> Iterator[Write]:
    """Write one JSON array, a row on each line, as `fields_of` says it."""
    separator = "\n"

    def write(rows: Sequence[ResultRow]) -> None:
        nonlocal separator
        for row in rows:
            stream.write(separator + json.dumps(fields_of(row)))
            separator = ",\n"
        stream.flush()

    stream.write("[")
    yield write
    stream.write("\n]\n")


@contextmanager
def json_lines(stream: TextIO) -> Iterator[Write]:
    """Write one JSON object a line, with what `json_rows` says of a row."""

    def write(rows: Sequence[ResultRow]) -> None:
        stream.writelines(json.dumps(fields_of(row)) + "\n" for row in rows)
        stream.flush()

    yield write


@contextmanager
def csv_rows(stream: TextIO, *, top: int, name: str = "label") -> Iterator[Write]:
    """Write CSV: path, label, probability, label_2, probability_2, … up to `top`, error.

    What was rejected has no labels.

    name: of what is guessed; `text` of a model that reads
    """
    writer = csv.writer(stream, lineterminator="\n")
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    writer.writerow(["path", *(f"{each}{rank}" for rank in ranks for each in (name, "probability")), "error"])

    def write(rows: Sequence[ResultRow]) -> None:
        for row in rows:
            guesses = [cell for guess in row.guesses for cell in (_cell(guess.label), f"{guess.probability:.6f}")]
            if row.rejected:
                guesses[::2] = [""] * len(row.guesses)
            padding = [""] * (2 * top - len(guesses))
            writer.writerow([_cell(str(row.path), mask="./"), *guesses, *padding, _cell(row.error)])
        stream.flush()

    yield write


@contextmanager
def csv_scores(stream: TextIO) -> Iterator[Write]:
    """Write CSV: path, score of the sentence, error."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "score", "error"])

    def write(rows: Sequence[ResultRow]) -> None:
        for row in rows:
            score = "" if row.fit is None else f"{row.fit.score:.6f}"
            writer.writerow([_cell(str(row.path), mask="./"), score, _cell(row.error)])
        stream.flush()

    yield write


@contextmanager
def csv_tags(stream: TextIO) -> Iterator[Write]:
    """Write CSV, a line for each label of an image: path, label, probability, error.

    An image without a label has one line with its path alone.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "label", "probability", "error"])

    def write(rows: Sequence[ResultRow]) -> None:
        for row in rows:
            path = _cell(str(row.path), mask="./")
            if not row.tags:
                writer.writerow([path, "", "", _cell(row.error)])
            for tag in row.tags or ():
                writer.writerow([path, _cell(tag.label), f"{tag.probability:.6f}", ""])
        stream.flush()

    yield write


@contextmanager
def csv_objects(stream: TextIO) -> Iterator[Write]:
    """Write CSV, a line for each object: path, label, score, left, top, right, bottom, error.

    The box is the upright one around it, in shares of the image's width and height. An image without objects has one
    line with its path alone.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "label", "score", "left", "top", "right", "bottom", "error"])

    def write(rows: Sequence[ResultRow]) -> None:
        for row in rows:
            path = _cell(str(row.path), mask="./")
            if not row.objects:
                writer.writerow([path, *[""] * 6, _cell(row.error)])
            for each in row.objects or ():
                box = [f"{side:.4f}" for side in each.box]
                writer.writerow([path, _cell(each.label), f"{each.score:.6f}", *box, ""])
        stream.flush()

    yield write


@contextmanager
def table_rows(console: Console, *, labels: Sequence[str], paths: Sequence[object]) -> Iterator[Write]:
    """Print columns as wide as `labels` and `paths` need and `console` has; a row's further guesses, labels or objects
    stand below it."""
    bar = _BAR if console.width >= 72 else 0
    space = console.width - _PERCENT - bar - 6
    label_width = min(max(_MIN_LABEL, *(cell_len(printable(label)) for label in labels)), max(_MIN_LABEL, space // 2))
    path_width = min(max(cell_len(printable(str(path))) for path in paths), max(_MIN_PATH, space - label_width))

    def write(rows: Sequence[ResultRow]) -> None:
        lines = []
        for row in rows:
            path = _shortened(printable(str(row.path)), path_width)
            if row.error:
                lines.append(Text.assemble(path, "  ", (printable(row.error), "red")))
            if row.fit is not None:
                lines.append(Text.assemble(path, "  ", f"{row.fit.score:.2f}"))
            if row.objects == () or row.tags == ():
                lines.append(Text.assemble(path, "  ", (f"no {'labels' if row.objects is None else 'objects'}", "dim")))
            if row.rejected:
                lines.append(Text.assemble(path, "  ", (f"rejected: {_sure(row.guesses[0])}", "dim")))
                continue
            for rank, guess in enumerate(row.guesses if row.tags is None else row.tags):
                shown, leads = path if rank == 0 else " " * path_width, rank == 0 or row.tags is not None
                lines.append(Text.assemble(shown, "  ", _guess(guess, label_width, bar, leads=leads)))
            for rank, each in enumerate(row.objects or ()):
                shown = path if rank == 0 else " " * path_width
                named = _guess(Guess(each.label, each.score), label_width, 0, leads=True)
                left, top, right, bottom = each.box
                place = f"  x {left:.0%} to {right:.0%}, y {top:.0%} to {bottom:.0%}"
                lines.append(Text.assemble(shown, "  ", named, (place, "dim")))
        console.print(Text("\n").join(lines))

    yield write


def fields_of(row: ResultRow) -> dict[str, object]:
    """Return what JSON says of a row: path, label, probability, top, and theta; or path and error.

    The label of what was rejected is null. A frame of a video has steady_theta too.

    Of a detector: path, and objects with label, score, box and theta. The box is the upright one around the object:
    left, top, right and bottom in shares of the image's width and height.

    Of a model that tags: path, labels, each with label and probability, and theta.

    Of a reader: path, text, probability, top with texts, and symbols with label, score, box and theta.

    Of a model that aligns: path, sentence, score, and words with label, score, box and theta.
    """
    if row.error:
        return {"path": str(row.path), "error": row.error}
    if row.fit is not None:
        words = [each.fields() for each in row.symbols or ()]
        return {"path": str(row.path), "sentence": row.fit.sentence, "score": round(row.fit.score, 6), "words": words}
    if row.objects is not None:
        return {"path": str(row.path), "objects": [each.fields() for each in row.objects]}
    fields: dict[str, object] = {"path": str(row.path)}
    name = "label" if row.symbols is None else "text"
    named: list[dict[str, object]] = [
        {name: guess.label, "probability": round(guess.probability, 6)} for guess in row.tags or row.guesses
    ]
    fields |= {**named[0], "top": named} if row.tags is None else {"labels": named}
    if row.rejected:
        fields[name] = None
    if row.theta is not None:
        fields["theta"] = np.round(row.theta.astype(float), 6).tolist()
    if row.steady is not None:
        fields["steady_theta"] = np.round(row.steady.astype(float), 6).tolist()
    if row.symbols is not None:
        fields["symbols"] = [each.fields() for each in row.symbols]
    return fields


def _cell(text: str, *, mask: str = "'") -> str:
    """A spreadsheet runs a cell that starts like a formula. A path stays a path with `./` in front."""
    text = printable(text)
    return mask + text if text.startswith(_FORMULA) else text


def _shortened(text: str, width: int) -> str:
    """Fill or cut to `width` cells, from the left: a path's end says more than its start."""
    if cell_len(text) > width:
        while cell_len(text) > width - 1:
            text = text[1:]
        text = f"…{text}"
    return set_cell_size(text, width)


def _sure(guess: Guess) -> str:
    return f"{printable(guess.label)} {100 * guess.probability:.1f} %"


def _guess(guess: Guess, label_width: int, bar: int, *, leads: bool) -> Text:
    label = printable(guess.label)
    shown = label if cell_len(label) <= label_width else set_cell_size(label, label_width - 1) + "…"
    line = Text(set_cell_size(shown, label_width), style="bold" if leads else "")
    line.append(f"  {100 * guess.probability:5.1f} %", style="not bold")
    if blocks := round(bar * guess.probability):
        line.append("  " + "█" * blocks, style="not bold cyan")
    return line
