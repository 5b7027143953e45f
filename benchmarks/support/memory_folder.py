"""Temporary folders in memory, where the system has such: for thousands of small files that nobody keeps."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

_MEMORY = Path("/dev/shm")


def memory_folder() -> TemporaryDirectory[str]:
    """Return a temporary folder, for a `with`; below TMPDIR, if that is set."""
    in_memory = "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK)
    return TemporaryDirectory(dir=_MEMORY if in_memory else None)
