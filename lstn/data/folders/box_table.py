"""Tables of what is in images, .csv files, read carefully: encoding, size, columns, numbers."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import DataError

MOST_BYTES = 256 << 20
"""Of a table: some five million rows."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of a table.

    names:  what a column may be called, in lower case, and what it is
    needed: what must be there
    wanted: what the first row is to say, for errors
    others: keep other columns too, by their own names
    """

    names: Mapping[str, str]
    needed: tuple[str, ...]
    wanted: str
    others: bool = False


BOX_COLUMNS = TableColumns(
    names={
        "path": "path",
        "x1": "x1",
        "y1": "y1",
        "x2": "x2",
        "y2": "y2",
        "degrees": "degrees",
        "filename": "path",  # GTSRB's, with the picture's size
        "roi.x1": "x1",
        "roi.y1": "y1",
        "roi.x2": "x2",
        "roi.y2": "y2",
        "width": "width",
        "height": "height",
    },
    needed=("path", "x1", "y1", "x2", "y2"),
    wanted="the first row names the columns path, x1, y1, x2, y2 and, if known, degrees; or is GTSRB's own",
)


@dataclass(frozen=True, slots=True)
class BoxRow:
    """A row of a table. values: by what their columns are; place: the table and the line, for errors."""

    values: dict[str, str]
    place: str

    def number(self, name: str) -> float:
        """Return a value as a number.

        Raises:
            DataError: it isn't one, or isn't finite.
        """
        text = self.values[name]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{self.place}: {name} is {text!r:.40}, not a number", hint="write numbers as 12 or 12.5")
        return value


@dataclass(frozen=True, slots=True)
class BoxTable:
    """The rows of a table."""

    rows: tuple[BoxRow, ...]


def read_table(path: Path, columns: TableColumns = BOX_COLUMNS) -> BoxTable:
    """Read a table with these columns.

    Raises:
        DataError: it can't be read, is too large, not text in UTF-8, lacks columns, or has a row of another length.
    """
    reader = csv.reader(io.StringIO(text := _text(path), newline=""), delimiter=_delimiter(text), strict=True)
    try:
        first = [name.strip() for name in next(reader, [])]
        names = [columns.names.get(name.lower(), name if columns.others else "") for name in first]
        _check_columns(path, names, text, columns)
        rows = []
        for values in reader:
            if any(value.strip() for value in values):
                rows.append(_row(names, values, f"{path}, line {reader.line_num}"))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: not a row of a .csv file ({error})",
            hint="repair the row, or save the table again",
        ) from error
    return BoxTable(tuple(rows))


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise DataError(f"{path}: not a regular file", hint="remove it, or put a .csv file there")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}", hint="make the file readable, or remove it") from error
    if len(data) > MOST_BYTES:
        raise DataError(f"{path}: larger than {MOST_BYTES >> 20} MiB", hint="keep the rows of this folder's images")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not text in UTF-8 (byte {error.start} is {data[error.start]:#04x})",
            hint="save it as UTF-8; in Excel: Save as, CSV UTF-8",
        ) from error


def _delimiter(text: str) -> str:
    """Return what separates the names in the first row: a comma, as usual, or what spreadsheets and GTSRB write."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _check_columns(path: Path, names: list[str], text: str, columns: TableColumns) -> None:
    missing = [name for name in columns.needed if name not in names]
    if missing:
        found = text.lstrip().partition("\n")[0].strip()
        raise DataError(f"{path}: no column {', '.join(missing)} in its first row, {found!r:.80}", hint=columns.wanted)
    double = next((name for name in names if name and names.count(name) > 1), None)
    if double is not None:
        raise DataError(f"{path}: two columns are {double}", hint=columns.wanted)


def _row(names: list[str], values: list[str], place: str) -> BoxRow:
    if len(values) != len(names):
        raise DataError(
            f"{place}: {len(values)} values; expected {len(names)}, as the first row has",
            hint="a path with a comma needs quotes around it",
        )
    return BoxRow({name: value.strip() for name, value in zip(names, values, strict=True) if name}, place)
