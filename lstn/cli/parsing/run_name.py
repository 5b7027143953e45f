"""`lstn train --name`: the folder of a run."""

import os
from pathlib import Path
from typing import Annotated

import typer

from lstn.errors import UsageError
from lstn.files import check_utf8

_MOST_NAME_BYTES = 200
"""Of a file's name 255 are usual, and temporary names are longer than their file's."""


def _one_folder(name: str) -> str:
    """Return the name of a run, if it can name one folder.

    Raises:
        UsageError: it can't.
    """
    cure = "a run is one folder under runs/; give its name alone"
    if name in (".", "..") or (name and Path(name).name != name):
        raise UsageError(f"{name!r} can't name a run", hint=cure)
    check_utf8(Path(name), "checkpoints")
    if (size := len(os.fsencode(name))) > _MOST_NAME_BYTES:
        raise UsageError(
            f"{name[:40]!r}… can't name a run: it has {size} bytes", hint=f"give a name of {_MOST_NAME_BYTES} at most"
        )
    return name


RunName = Annotated[
    str,
    typer.Option(
        callback=_one_folder, metavar="NAME", help="Folder of the run, under runs/.", show_default="LOC-MODEL-TIME"
    ),
]
