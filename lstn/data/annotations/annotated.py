"""Annotated images as all formats give them: files and boxes, and what a box is in the picture that its file shows."""

import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lstn.contract import MAX_NAME
from lstn.data.folders.box_table import BoxRow, TableColumns, read_table
from lstn.data.folders.boxes import LEAST_PX, SLACK_PX
from lstn.data.objects import Objects, no_objects
from lstn.data.poses import pose_from_corners
from lstn.data.splits import SplitName
from lstn.errors import ArtifactError, DataError
from lstn.untrusted.checked_json import read_bytes

_BENT = 0.25
"""How far corners may be from those of a parallelogram, as a share of its shorter side: they are set by hand."""


@dataclass(frozen=True, slots=True)
class MarkedBox:
    """A box of an object.

    label:  the class's name
    values: left, top, right and bottom of an upright box; or x and y of four corners, clockwise from the object's own
            top left one
    row:    where in its file it is, for errors, such as `line 3`
    """

    label: str
    values: tuple[float, ...]
    row: str

    def corners(self) -> npt.NDArray[np.float64]:
        """Return the four corners (4, 2), x and y, clockwise from the top left one."""
        if len(self.values) == 4:
            left, top, right, bottom = self.values
            return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
        return np.array(self.values, np.float64).reshape(4, 2)

    def fault(self, corners: npt.NDArray[np.float64], image_hw: tuple[int, int]) -> str:
        """Say why this isn't a box in a picture of this size; nothing if it is one.

        corners: (4, 2) in pixels of the picture
        """
        height, width = image_hw
        one, two, three, four = corners
        across, down = (two + three - one - four) / 2, (three + four - one - two) / 2
        shorter, longer = sorted((float(np.hypot(*across)), float(np.hypot(*down))))
        area = abs(float(across[0] * down[1] - across[1] * down[0]))
        upright = len(self.values) == 4
        if area < LEAST_PX * max(longer, LEAST_PX) or (upright and (three <= one).any()):
            wide, high = (three - one).tolist() if upright else (longer, area / longer if longer else 0.0)
            return f"a box of {wide:.3g} x {high:.3g} pixels has no area"
        if np.hypot(*(one - two + three - four)) / 4 > _BENT * shorter:
            return "its four corners are not those of a turned box"
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        inside = (
            min(left, top) >= -SLACK_PX and right <= width + SLACK_PX and bottom <= height + SLACK_PX
            if upright
            else longer <= np.hypot(width, height) + 2 * SLACK_PX
        )
        x, y = corners.mean(axis=0)
        if inside and 0 <= x <= width and 0 <= y <= height:
            return ""
        return (
            f"the box ({left:.5g}, {top:.5g}) to ({right:.5g}, {bottom:.5g}) is not inside the picture, which has "
            f"{width} x {height} pixels"
        )


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image file and the objects in it.

    source:    the file that says them
    of_wh:     width and height of the picture, where it says them
    in_pixels: boxes are in pixels of the picture as it is shown; else in shares of its width and height
    """

    path: Path
    boxes: tuple[MarkedBox, ...]
    source: Path
    of_wh: tuple[int, int] | None = None
    in_pixels: bool = True

    def objects(self, numbers: dict[str, int], image_hw: tuple[int, int]) -> tuple[Objects, list[str]]:
        """Return the objects, and what is wrong with boxes that are left out.

        numbers:  of the classes
        image_hw: of the picture as the file shows it

        Raises:
            DataError: the annotations are for a picture of another size.
        """
        height, width = image_hw
        if self.of_wh is not None and self.of_wh != (width, height):
            raise DataError(
                f"{self.source}: boxes of {self.path.name} are for a picture of {self.of_wh[0]} x {self.of_wh[1]} "
                f"pixels, and the file has {width} x {height}",
                hint="boxes are in pixels of the picture as it is shown; turn and scale them along with it",
            )
        scale = (1, 1) if self.in_pixels else (width, height)
        labels, thetas, faults = [], [], []
        for box in self.boxes:
            corners = box.corners() * scale
            if fault := box.fault(corners, image_hw):
                faults.append(f"{self.source}, {box.row}: {fault}")
            else:
                labels.append(numbers[box.label])
                thetas.append(pose_from_corners(corners, image_hw).theta)
        found = Objects(np.array(labels, np.int64), np.stack(thetas)) if labels else no_objects()
        return found, faults


@dataclass
class AnnotatedSet:
    """What the annotations of a folder say.

    kind:    the format
    classes: names in the order of the files, whether or not any image shows them
    splits:  images by split; of a folder that is not divided, all are for training
    notes:   what was left out, a few words each
    """

    root: Path
    kind: str
    classes: tuple[str, ...]
    splits: dict[SplitName, list[AnnotatedImage]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def annotation_bytes(path: Path, *, most: int) -> bytes:
    """Return what is in a file of annotations.

    Raises:
        DataError: it can't be read, isn't a regular file, or is larger than `most` bytes.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: not a regular file", hint="remove it, or put the annotations there")
        return read_bytes(path, most=most, what="a file of annotations")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: {getattr(error, 'strerror', None) or error}", hint="make the file readable"
        ) from error
    except ArtifactError as error:
        raise DataError(error.message, hint=error.hint) from error


def annotation_text(path: Path, *, most: int) -> str:
    """Return what is in a file of annotations, as text.

    Raises:
        DataError: as for `annotation_bytes`; or it isn't text in UTF-8.
    """
    try:
        return annotation_bytes(path, most=most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 (at byte {error.start})", hint="save it as UTF-8") from error


def class_named(name: str, place: str) -> str:
    """Return a class's name in Unicode's form NFC, without spaces around it.

    Raises:
        DataError: it is empty, or longer than a model can keep.
    """
    plain = unicodedata.normalize("NFC", name.strip())
    if not 0 < len(plain) <= MAX_NAME:
        raise DataError(
            f"{place}: a class has the name {name[:40]!r}, of {len(plain)} characters",
            hint=f"names have 1 to {MAX_NAME} characters",
        )
    return plain


def image_rows(table: Path, columns: TableColumns, *, what: str, hint: str) -> Iterator[tuple[Path, BoxRow]]:
    """Yield the rows of a table that has one for each image, with the image's file.

    what, hint: what a row is, for the error of an image that has two, and what to do then

    Raises:
        DataError: it can't be read, or has no rows; a row has no file, or a file has two.
    """
    places: dict[Path, str] = {}
    for row in read_table(table, columns).rows:
        path = path_below(table.parent, row.values["path"], row.place)
        if not path.is_file():
            raise DataError(f"{row.place}: there is no file {path!s:.200}", hint="remove rows of lost files")
        if path in places:
            raise DataError(
                f"{row.place}: a second {what} for {row.values['path']:.200}; the first is in {places[path]}", hint=hint
            )
        places[path] = row.place
        yield path, row
    if not places:
        raise DataError(f"{table}: no rows below the first one", hint="add a row for each image")


def path_below(folder: Path, name: str, place: str) -> Path:
    """Return the path of a file that annotations name, from `folder` on.

    Raises:
        DataError: it leads out of the folder, or can't be a path.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        raise DataError(f"{place}: {name[:200]!r} is not a path below {folder}", hint="write paths from that folder on")
    return folder.joinpath(*parts)
