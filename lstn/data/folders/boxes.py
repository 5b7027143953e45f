"""Boxes of objects in image files, as tables name them: ROOT/boxes.csv, or GTSRB's own GT-*.csv in class folders."""

import math
import os
import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lstn.data.folders.box_table import BoxTable, read_table
from lstn.data.poses import Pose, pose_from_box
from lstn.errors import DataError
from lstn.images import shown_hw
from lstn.imaging.framing import Framing
from lstn.terminal import warn_once

BOXES = "boxes.csv"
_GTSRB = "GT-*.csv"

SLACK_PX = 1.0
"""How far a box may reach outside of its picture: tools count the last pixel in or out."""

LEAST_PX = 1.0
"""Shortest side of a box. Of a much shorter one nothing could be sampled, or computed in float32."""

_FULL_TURN = 360.0


@dataclass(frozen=True, slots=True)
class Box:
    """An object's box in a picture, in pixels of the picture as it is shown.

    corners: left, top, right and bottom, before it is turned
    degrees: how far it is turned counter-clockwise around its middle
    of_wh:   width and height of the picture, where the table says them
    place:   the table and the line, for errors
    """

    corners: tuple[float, float, float, float]
    degrees: float
    of_wh: tuple[float, float] | None
    place: str

    def pose(self, image_hw: tuple[int, int]) -> Pose:
        """Return the pose in a picture of this size.

        Raises:
            DataError: it isn't a box in such a picture.
        """
        height, width = image_hw
        x1, y1, x2, y2 = self.corners
        if self.of_wh is not None and self.of_wh != (width, height):
            raise DataError(
                f"{self.place}: the box is for a picture of {self.of_wh[0]:g} x {self.of_wh[1]:g} pixels, and the file "
                f"has {width} x {height}",
                hint="boxes are in pixels of the picture as it is shown; turn and scale them along with it",
            )
        if not _inside(self, width, height):
            turned = f", turned by {self.degrees:g} degrees," if self.degrees else ""
            raise DataError(
                f"{self.place}: the box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}){turned} is not inside the picture, which "
                f"has {width} x {height} pixels",
                hint="boxes are in pixels of the picture as it is shown, from its top left corner",
            )
        return pose_from_box(((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1), self.degrees, image_hw)


Boxes: TypeAlias = Mapping[Path, Box]
"""Image files and the boxes of the objects in them."""


def _inside(box: Box, width: int, height: int) -> bool:
    """Its middle is in the picture. Of a turned box, whose corners may be empty, the sides fit across the picture."""
    x1, y1, x2, y2 = box.corners
    if box.degrees:
        fits = max(x2 - x1, y2 - y1) <= math.hypot(width, height) + 2 * SLACK_PX
    else:
        fits = min(x1, y1) >= -SLACK_PX and x2 <= width + SLACK_PX and y2 <= height + SLACK_PX
    return fits and 0 <= x1 + x2 <= 2 * width and 0 <= y1 + y2 <= 2 * height


def tables_of(root: Path, files: Sequence[Path]) -> list[Path]:
    """Return the tables of boxes for these image files: ROOT/boxes.csv; or else GT-*.csv beside them."""
    # A folder of that name is a class. A lost link counts, and is for the reader to refuse.
    if os.path.lexists(root / BOXES) and not (root / BOXES).is_dir():
        return [root / BOXES]
    return [table for folder in sorted({file.parent for file in files}) for table in sorted(folder.glob(_GTSRB))]


def warn_of_stray(root: Path, files: Sequence[Path]) -> None:
    """Say which tables lie below the folder, beside or above its image files, where they are not read."""
    beside = {file.parent.relative_to(root) for file in files}
    folders = {folder for each in beside for folder in (each, *each.parents)} - {Path()}
    for folder in sorted(folders):
        if (root / folder / BOXES).is_file():
            warn_once(
                f"{root / folder / BOXES} is not read; boxes are read from {root / BOXES}, with paths from there, such "
                f"as {folder / 'image.jpg'}"
            )


def read_boxes(tables: Sequence[Path], root: Path, files: Sequence[Path]) -> Boxes:
    """Read the tables, and return the box of each image file that has one.

    Raises:
        DataError: a table can't be read; a row has no file, no numbers or no area; or a file has two boxes.
    """
    known = {_key(file.relative_to(root).as_posix()): file for file in files}
    boxes: dict[Path, Box] = {}
    for path in tables:
        below = path.parent.relative_to(root).as_posix()
        table = read_table(path)
        if not table.rows:
            warn_once(f"{path}: no rows below the first one, which names the columns, so no boxes")
        for box, name in _boxes(table):
            key = _key(posixpath.join(below, name.replace("\\", "/")))
            if key.startswith(("/", "../")):
                raise DataError(
                    f"{box.place}: {name:.200} is not a path below {root}",
                    hint="write paths from the table's folder on",
                )
            if (file := known.get(key)) is None:
                _refuse_lost(path.parent / name, box.place)
            elif file in boxes:
                raise DataError(
                    f"{box.place}: a second box for {name}; the first is in {boxes[file].place}",
                    hint="an image has one object; keep one of them",
                )
            else:
                boxes[file] = box
    return boxes


def read_poses(
    files: Sequence[Path], boxes: Boxes, image_hw: tuple[int, int], framing: Framing
) -> tuple[Pose | None, ...]:
    """Return the pose in the input that each image file becomes; None where it has no box, or its middle is cut off.

    Raises:
        DataError: a box outside of its picture.
        ImageError: a picture that can't be opened any more.
    """

    def pose(file: Path) -> Pose | None:
        box = boxes.get(file)
        if box is None:
            return None
        photo_hw = shown_hw(file)
        theta = framing.place(photo_hw, image_hw).to_input(box.pose(photo_hw).theta)
        return Pose(theta) if np.abs(theta[:, 2]).max() <= 1 else None

    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(pose, files))


def _boxes(table: BoxTable) -> list[tuple[Box, str]]:
    found = []
    for row in table.rows:
        x1, y1, x2, y2 = (row.number(name) for name in ("x1", "y1", "x2", "y2"))
        if min(x2 - x1, y2 - y1) < LEAST_PX:
            small = "is smaller than a pixel" if x1 < x2 and y1 < y2 else "has no area"
            raise DataError(
                f"{row.place}: the box ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) {small}",
                hint="x1, y1 is its top left corner, and x2, y2 its bottom right one, in pixels",
            )
        sized = "width" in row.values and "height" in row.values
        of_wh = (row.number("width"), row.number("height")) if sized else None
        degrees = row.number("degrees") if row.values.get("degrees") else 0.0
        if abs(degrees) > _FULL_TURN:
            raise DataError(f"{row.place}: degrees {degrees:g} is more than a full turn", hint="give -360 to 360")
        found.append((Box((x1, y1, x2, y2), degrees, of_wh, row.place), row.values["path"]))
    return found


def _key(name: str) -> str:
    """One spelling for each path, by the table's folder: `./a`, `a` and `b/../a` are one."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))


def _refuse_lost(path: Path, row: str) -> None:
    """Refuse a row whose file isn't there; a file that isn't an image of the set needs no box."""
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        raise DataError(
            f"{row}: there is no file {path!s:.200}",
            hint="write paths from the table's folder on; remove rows of lost files",
        )
