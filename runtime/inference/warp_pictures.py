"""Pictures of what the transformer did: one file for each image, drawn from the engine's own theta."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lstn.contract import Contract
from lstn.detection.drawn_objects import draw_objects
from lstn.imaging.saved_picture import save_picture
from lstn.runtime.inference.result_rows import ResultRow
from lstn.terminal import without_secrets
from lstn.transcription.transcripts import drawn_symbols
from lstn.warps.drawn_warp import draw_warp
from lstn.warps.warp import sampling_of

_OBJECTS_SIDE = 448
"""The longer side of a picture with objects, in pixels."""

_MAX_STEM = 100
"""Bytes of the image's name that are kept; with number and temporary suffix, every file system takes the result."""


def save_warp(row: ResultRow, folder: Path, contract: Contract, *, number: int) -> None:
    """Draw the input and the warped crop of one row side by side, as `folder/000001-name.png`; of a detector, the input
    with its objects; of a reader, with the symbols of its text.

    The number keeps images of one name in several folders apart. A row with an error, or without theta, has no picture.
    The warp of a frame of a video is the steadied one.

    Raises:
        LstnError: the file can't be written.
    """
    if row.pixels is None or row.error:
        return
    path = folder / picture_name(row.path, number)
    found = row.objects if row.symbols is None else drawn_symbols(row.symbols, contract.separator)
    if found is not None:
        save_picture(draw_objects(row.pixels, found, contract.labels, side=_OBJECTS_SIDE), path)
    elif row.theta is not None:
        theta = row.theta if row.steady is None else row.steady
        save_picture(draw_warp(row.pixels, theta, sampling_of(contract)), path)


def picture_names(images: Sequence[Path | str]) -> Iterator[str]:
    """Return what the pictures of all images are called, in their order."""
    return (picture_name(path, number) for number, path in enumerate(images, 1))


def picture_name(path: Path | str, number: int) -> str:
    """Return what a picture of an image is called, such as `000001-name.png`."""
    of_file = path if isinstance(path, Path) else without_secrets(path).partition("#t=")[0]  # all frames of a video
    stem = os.fsdecode(os.fsencode(Path(of_file).stem)[:_MAX_STEM])
    return f"{number:06d}-{stem}.png"
