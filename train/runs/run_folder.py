"""A run's folder: made at once with the state to resume from, or not at all."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lstn.errors import LstnError, UsageError
from lstn.files import filling, leftovers, remove_leftovers
from lstn.train.runs.run_state import LAST


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Yield a folder to put the first state into, which then becomes `folder` by one rename.

    So a run that is killed on the way leaves no folder that can't be resumed and can't be started anew, and of two that
    start together, which would overwrite each other, one alone gets it. An empty folder may stand there before.

    Raises:
        UsageError: there is something in `folder`, or it is a file.
        LstnError: it can't be made.
    """
    if _taken(folder):
        raise _refused(folder)
    try:
        with filling(folder) as making:
            yield making
            if not _taken(folder):
                remove_leftovers(folder)
        remove_leftovers(folder.parent, of=glob.escape(folder.name))  # now that nobody else can get it any more
    except OSError as error:
        if _taken(folder):
            raise _refused(folder) from error
        raise LstnError(f"cannot make {folder}: {error.strerror}", hint="start from another folder") from error


def _taken(folder: Path) -> bool:
    """Say whether there is more than what a killed process may have left: a run is there whole, or not yet."""
    return set(folder.iterdir()) != set(leftovers(folder)) if folder.is_dir() else folder.exists()


def _refused(folder: Path) -> UsageError:
    resumable = (folder / LAST).is_file()
    cure = f"choose another --name, or continue with: lstn train --resume {folder}"
    return UsageError(f"{folder} exists", hint=cure if resumable else "remove it, or choose another folder")
