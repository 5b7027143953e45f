"""Pictures of what the transformer did: one file for each image, drawn from the engine's own theta."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lstn.imaging.saved_picture import save_picture
from lstn.runtime.inference.predict import ResultRow
from lstn.warps.drawn_warp import draw_warp
from lstn.warps.warp import CropSampling

_MAX_STEM = 100
"""Bytes of the image's name that are kept; with number and temporary suffix, every file system takes the result."""


def save_warp(row: ResultRow, folder: Path, sampling: CropSampling, *, number: int) -> None:
    """Draw the input and the warped crop of one row side by side, as `folder/000001-name.png`.

    sampling: as for `draw_warp`

    The number keeps images of one name in several folders apart. A row with an error, or without theta, has no picture.

    Raises:
        LstnError: the file can't be written.
    """
    if row.pixels is None or row.theta is None or row.error:
        return
    save_picture(draw_warp(row.pixels, row.theta, sampling), folder / picture_name(row.path, number))


def picture_names(images: Sequence[Path | str]) -> Iterator[str]:
    """Return what the pictures of all images are called, in their order."""
    return (picture_name(path, number) for number, path in enumerate(images, 1))


def picture_name(path: Path | str, number: int) -> str:
    """Return what a picture of an image is called, such as `000001-name.png`."""
    stem = os.fsdecode(os.fsencode(Path(path).stem)[:_MAX_STEM])
    return f"{number:06d}-{stem}.png"
