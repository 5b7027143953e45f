"""A folder of painted pictures that is a data set: LABEL/NUMBER.png, and boxes.csv, as `folder:PATH` reads them."""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from lstn.contract import Contract
from lstn.data.folders.boxes import BOXES, LEAST_PX
from lstn.data.splits import SPLIT_NAMES
from lstn.errors import LstnError, UsageError
from lstn.files import filling, what_is
from lstn.images import Pixels
from lstn.imaging.saved_picture import save_picture
from lstn.warps.warp import Theta

MOST_PICTURES = 1_000_000
"""That are painted at once: as many as ImageNet has."""

_FORBIDDEN = '<>:"/\\|?*'
"""Characters that a folder's name can't have everywhere."""

Painting = tuple[Pixels, int, Theta | None]
"""A picture (H, W, 3), its class's number, and where its object is (2, 3), if that is known."""


def check_new_folder(option: str, folder: Path) -> None:
    """Check that a folder of pictures can be made: it must not exist yet, or be empty.

    Raises:
        UsageError: there is something.
    """
    if str(folder) == "-":
        raise UsageError(f"{option} -: not a folder", hint="name a folder for the pictures")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        found = "it is not empty" if folder.is_dir() else what_is(folder) if not folder.is_file() else "a file"
        raise UsageError(f"{option} {folder}: {found}", hint="name a new folder for the pictures")


def check_folder_names(labels: Iterable[str]) -> None:
    """Check that each class can have a folder of its name.

    Raises:
        UsageError: one can't.
    """
    for label in labels:
        bad = any(sign in _FORBIDDEN or ord(sign) < ord(" ") for sign in label) or label != label.strip(" .")
        if bad or label.lower() in SPLIT_NAMES:
            raise UsageError(
                f"class {label!r:.60} can't name a folder of pictures",
                hint="paint other classes, by --label; from Python, lstn.open_generator paints every class",
            )


def write_painted(folder: Path, paintings: Iterable[Painting], contract: Contract) -> int:
    """Write pictures to a folder, whole or not at all; return how many have a box.

    A picture is LABEL/NUMBER.png, numbered from 0 in the order of `paintings`. The columns of boxes.csv are path, x1,
    y1, x2, y2 and degrees: left, top, right and bottom of the box in pixels, and how far it is turned counter-clockwise
    around its middle. A picture has no row if its object's middle is outside of it, or its place is not known.

    Raises:
        LstnError: the folder can't be written.
    """
    table = io.StringIO(newline="")
    rows, boxes = csv.writer(table, lineterminator="\n"), 0
    rows.writerow(("path", "x1", "y1", "x2", "y2", "degrees"))
    known = False
    try:
        with filling(folder) as making:
            for number, (pixels, label, theta) in enumerate(paintings):
                path = Path(contract.labels[label], f"{number:06d}.png")
                (making / path.parent).mkdir(exist_ok=True)
                save_picture(Image.fromarray(pixels), making / path)
                known = known or theta is not None
                box = None if theta is None else box_of(theta, contract.image_hw)
                if box is not None:
                    boxes += 1
                    rows.writerow((path.as_posix(), *(f"{value:.3f}" for value in box)))
            if known:
                (making / BOXES).write_text(table.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise LstnError(f"cannot write {folder}: {error.strerror or error}", hint="choose another place") from error
    return boxes


def box_of(theta: Theta, image_hw: tuple[int, int]) -> tuple[float, float, float, float, float] | None:
    """Return the box that a theta (2, 3) without shear reads, as a row of boxes.csv has it; None of no such box.

    What `lstn.data.poses.pose_from_box` takes back. An upright box is cut off at the picture's edges.
    """
    height, width = image_hw
    sides = np.array([width, height], np.float64)
    across, down = theta[:, 0].astype(np.float64) * sides, theta[:, 1].astype(np.float64) * sides
    x, y = (theta[:, 2].astype(np.float64) + 1) * sides / 2
    half_width, half_height = float(np.hypot(*across)) / 2, float(np.hypot(*down)) / 2
    degrees = math.degrees(math.atan2(-across[1], across[0]))
    left, top, right, bottom = x - half_width, y - half_height, x + half_width, y + half_height
    if not degrees:
        left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
    inside = 0 <= x <= width and 0 <= y <= height
    if not inside or min(right - left, bottom - top) < LEAST_PX + 1e-3:
        return None
    return float(left), float(top), float(right), float(bottom), degrees
