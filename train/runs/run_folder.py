"""A run's folder: made at once with the state to resume from, or not at all."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lstn.errors import LstnError
from lstn.files import filling, remove_leftovers
from lstn.health.run_files import check_free


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Yield a folder to put the first state into, which then becomes `folder` by one rename.

    So a run that is killed on the way leaves no folder that can't be resumed and can't be started anew, and of two that
    start together, which would overwrite each other, one alone gets it. An empty folder may stand there before.

    Raises:
        UsageError: there is something in `folder`, or it is a file.
        LstnError: it can't be made.
    """
    check_free(folder)
    try:
        with filling(folder) as making:
            yield making
            check_free(folder)
            remove_leftovers(folder)
        remove_leftovers(folder.parent, of=glob.escape(folder.name))  # now that nobody else can get it any more
    except OSError as error:
        check_free(folder)
        raise LstnError(f"cannot make {folder}: {error.strerror}", hint="start from another folder") from error
