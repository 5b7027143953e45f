"""Tables of labels, labels.csv: an image file, and all labels that it has, in one column or in one for each label."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstn.data.annotations.annotated import class_named, image_rows
from lstn.data.folders.box_table import BoxRow, TableColumns
from lstn.data.objects import Objects
from lstn.errors import DataError

_COLUMNS = TableColumns(
    names={name: name for name in ("path", "labels")},
    needed=("path",),
    wanted="the first row names the columns path and labels, whose values are separated by semicolons; or path and "
    "each label, whose values are 1 or 0",
    others=True,
)

_BETWEEN = re.compile(r"[;|]")
_NUMBERS = {"0": False, "1": True}


@dataclass(frozen=True, slots=True)
class TaggedFile:
    """An image file and its labels, of which there may be none. place: the table and the line, for errors"""

    path: Path
    labels: frozenset[str]
    place: str

    def objects(self, numbers: dict[str, int]) -> Objects:
        """Return the labels; where they are nobody knows, so thetas are not a number. numbers: of the labels"""
        found = np.array(sorted(numbers[label] for label in self.labels), np.int64)
        return Objects(found, np.full((len(found), 2, 3), np.nan, np.float32))


def read_tags(table: Path) -> list[TaggedFile]:
    """Read a table of labels, with paths from its folder on.

    Raises:
        DataError: it can't be read; a row has no file, or a file has two; there is no label in it, or a value that is
            neither 0 nor 1.
    """
    rows = image_rows(table, _COLUMNS, what="row", hint="write all labels of an image in one row")
    return [TaggedFile(path, frozenset(_labels(row)), row.place) for path, row in rows]


def _labels(row: BoxRow) -> Iterator[str]:
    listed = row.values.get("labels")
    if listed is not None:
        yield from (class_named(word, row.place) for word in _BETWEEN.split(listed) if word.strip())
        return
    others = {name: value for name, value in row.values.items() if name != "path"}
    if not others:
        raise DataError(f"{row.place}: no labels", hint=_COLUMNS.wanted)
    for name, value in others.items():
        if value not in _NUMBERS:
            raise DataError(f"{row.place}: column {name!r:.60} is {value!r:.40}", hint=_COLUMNS.wanted)
        if _NUMBERS[value]:
            yield class_named(name, row.place)
