"""Tables of texts, labels.csv: an image file, what is written in it, and where each symbol is if that is known."""

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstn.data.annotations.annotated import MarkedBox, image_rows
from lstn.data.folders.box_table import BoxRow, TableColumns
from lstn.data.objects import Objects
from lstn.data.poses import pose_from_corners
from lstn.errors import DataError

_COLUMNS = TableColumns(
    names={name: name for name in ("path", "text", "boxes")},
    needed=("path", "text"),
    wanted="the first row names the columns path, text and, if known, boxes: x1 y1 x2 y2 of each symbol in pixels, "
    "separated by semicolons",
)

_CORNERS = (4, 8)
"""Numbers of a box: left, top, right and bottom; or x and y of its corners, clockwise from the symbol's top left."""


@dataclass(frozen=True, slots=True)
class KnownText:
    """An image file and its text.

    boxes: of each symbol, in pixels of the picture as it is shown; none if they are not known
    place: the table and the line, for errors
    """

    path: Path
    text: str
    boxes: tuple[MarkedBox, ...]
    place: str

    def objects(self, numbers: dict[str, int], image_hw: tuple[int, int]) -> Objects:
        """Return the symbols in the order of reading; thetas are not a number where there are no boxes.

        numbers:  of the symbols
        image_hw: of the picture as the file shows it

        Raises:
            DataError: a box isn't one in such a picture.
        """
        thetas = np.full((len(self.text), 2, 3), np.nan, np.float32)
        for place, box in enumerate(self.boxes):
            if fault := box.fault(box.corners(), image_hw):
                raise DataError(f"{self.place}: {fault}", hint="boxes are in pixels of the picture as it is shown")
            thetas[place] = pose_from_corners(box.corners(), image_hw).theta
        return Objects(np.array([numbers[symbol] for symbol in self.text], np.int64), thetas)


def read_texts(table: Path) -> list[KnownText]:
    """Read a table of texts, with paths from its folder on.

    Raises:
        DataError: it can't be read; a row has no file or no text, or a file has two; or there are boxes of another
            number than symbols, or something else than boxes.
    """
    found = []
    for path, row in image_rows(table, _COLUMNS, what="text", hint="an image has one text; keep one of them"):
        text = unicodedata.normalize("NFC", row.values["text"])
        if not text:
            raise DataError(f"{row.place}: an empty text", hint="write what the image says, or remove the row")
        found.append(KnownText(path, text, tuple(_boxes(row, text)), row.place))
    return found


def _boxes(row: BoxRow, text: str) -> Iterator[MarkedBox]:
    words = [word for word in row.values.get("boxes", "").split(";") if word.strip()]
    if words and len(words) != len(text):
        raise DataError(
            f"{row.place}: {len(words)} boxes for the {len(text)} symbols of {text!r:.40}",
            hint="give one box for each symbol, spaces among them, or none",
        )
    for symbol, word in zip(text, words, strict=False):
        values = [_number(value) for value in word.split()]
        if len(values) not in _CORNERS or not all(map(math.isfinite, values)):
            raise DataError(f"{row.place}: {word.strip()!r:.80} is not a box", hint=_COLUMNS.wanted)
        yield MarkedBox(symbol, tuple(values), row.place)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
