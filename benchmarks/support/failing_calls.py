"""System calls that fail when they are told to: `failing_calls.c`, built by gcc and loaded into this process."""

import ctypes
import errno
import mmap
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import LstnError

_RECORDED = 65536
_ONCE, _SHORT, _FULL = range(3)

CALLS = (
    "open",
    "read",
    "write",
    "copy",
    "fsync",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "mmap",
    "close",
    "stat",
    "access",
    "list",
    "lseek",
    "truncate",
    "lock",
    "link",
    "chmod",
    "utime",
    "readlink",
    "statfs",
)
"""What calls are named, in the order of the C source."""

SHORT, FULL = "short", "full"
"""Faults that aren't an errno: half of a transfer, and a disk that takes half of a write and is full from then on."""

_READS = ("EIO", "EINTR", SHORT)
FAULTS = {
    "open": ("EACCES", "EMFILE", "EIO", "EINTR", FULL),
    "read": _READS,
    "write": ("ENOSPC", "EIO", "EINTR", SHORT, FULL),
    "copy": ("ENOSPC", "EIO", SHORT),
    "fsync": ("EIO", "ENOSPC", "EINTR"),
    "rename": ("EACCES", "EIO", "ENOSPC"),
    "unlink": ("EACCES", "EIO"),
    "mkdir": ("EACCES", "ENOSPC"),
    "rmdir": ("EACCES",),
    "mmap": ("ENOMEM", "EACCES"),
    "close": ("EIO", "EINTR"),
    "stat": ("EACCES", "EIO"),
    "access": ("EACCES",),
    "list": ("EIO",),
    "lseek": ("EIO",),
    "truncate": ("ENOSPC", "EIO"),
    "lock": ("EIO", "ENOLCK", "EINTR"),
    "link": ("EACCES", "ENOSPC"),
    "chmod": ("EPERM",),
    "utime": ("EPERM",),
    "readlink": ("EACCES", "EIO"),
    "statfs": ("EIO",),
}
"""What each call may answer, as its manual page has it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The call with this number, from 1, fails so: the name of an errno, `SHORT` or `FULL`."""

    number: int
    how: str


class Watch(ctypes.Structure):
    """What the C source shares with its watcher, field by field."""

    _fields_ = (
        ("folder", ctypes.c_char * 4096),
        ("at", ctypes.c_int64),
        ("how", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("counted", ctypes.c_int64),
        ("struck", ctypes.c_int64),
        ("path", ctypes.c_char * 8192),
        ("calls", ctypes.c_uint8 * _RECORDED),
    )


class FailingCalls:
    """The calls that watched processes make on files below one folder, and which of them fails.

    build:  where the library is built
    folder: absolute, and without links on the way

    Raises:
        LstnError: gcc is not there, or not Linux on x86-64.
    """

    def __init__(self, build: Path, folder: Path) -> None:
        library = build / "failing_calls.so"
        source = Path(__file__).with_suffix(".c")
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source), "-o", str(library)]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise LstnError(f"{source} can't be built", hint="it needs gcc, and Linux on x86-64") from error
        self._library = ctypes.CDLL(str(library))
        self._watch = Watch.from_buffer(mmap.mmap(-1, ctypes.sizeof(Watch)))
        self._watch.folder = os.fsencode(folder)

    def arm(self, fault: Fault | None) -> None:
        """Count from 1 again, and let a call fail from now on, or none."""
        watch = self._watch
        watch.at = 0
        watch.counted = watch.struck = 0
        if fault is not None:
            watch.how = {SHORT: _SHORT, FULL: _FULL}.get(fault.how, _ONCE)
            watch.error = getattr(errno, "ENOSPC" if fault.how == FULL else fault.how, 0)
            watch.at = fault.number

    def watch(self) -> None:
        """Watch this process, which can't be undone, and those that it forks.

        Raises:
            OSError: the system doesn't let it.
        """
        if code := self._library.watch_calls(ctypes.byref(self._watch)):
            raise OSError(code, os.strerror(code))

    @property
    def struck(self) -> int:
        """How many calls have failed."""
        return int(self._watch.struck)

    @property
    def path(self) -> Path:
        """What the last of them was on."""
        return Path(os.fsdecode(self._watch.path))

    @property
    def calls(self) -> list[str]:
        """What was called so far, in order."""
        counted = int(self._watch.counted)
        if counted > _RECORDED:
            raise LstnError(f"{counted} calls; at most {_RECORDED} are recorded")
        return [CALLS[kind] for kind in self._watch.calls[:counted]]
