"""A lock on a folder that one process at a time writes to. The kernel holds it, so a killed process leaves none."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from lstn.errors import LstnError, UsageError
from lstn.terminal import without_secrets

_LOCK = ".lock"
_MOST = 400
"""Characters that are read of who holds a lock."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which exists, until the block ends.

    The file `.lock` says who holds it. The file alone locks nothing: a process that died leaves it without a lock.
    Where the file system or the operating system knows no such locks, nothing is locked.

    Raises:
        UsageError: another process holds it.
        LstnError: nothing can be written in the folder.
    """
    path = folder / _LOCK
    descriptor = _acquired(path)
    held = [descriptor]
    os.register_at_fork(after_in_child=lambda: _close(held))  # or a child that outlives us would keep the lock
    try:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _about_us().encode("utf-8", "backslashreplace"), 0)
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        _close(held)


def _acquired(path: Path) -> int:
    """Return the open lock file, locked. A holder removes its file at its end, so the name is checked afterwards."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LstnError(
                f"cannot write in {path.parent}: {error.strerror}", hint="choose another folder, or make it writable"
            ) from error
        if not _lock(descriptor):
            holder = _holder(descriptor)
            os.close(descriptor)
            raise UsageError(f"{path.parent}: {holder} writes there now", hint="wait until it ends, or stop it first")
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Say whether nobody else holds the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _holder(descriptor: int) -> str:
    try:
        text = os.pread(descriptor, _MOST, 0).decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return text or "another process"


def _about_us() -> str:
    command = without_secrets(" ".join(["lstn", *sys.argv[1:]]))
    return f"process {os.getpid()} on {platform.node()} (since {datetime.now():%Y-%m-%d %H:%M}: {command:.200})"


def _close(held: list[int]) -> None:
    while held:
        os.close(held.pop())
