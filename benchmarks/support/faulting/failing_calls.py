"""System calls that fail when they are told to: `failing_calls.c`, built by gcc and loaded into this process."""

import ctypes
import errno
import mmap
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import LstnError

_RECORDED, _LENGTH = 16384, 512
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


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """The nth call of its kind on a path, from 1.

    kind: one of `CALLS`
    path: below the folder that is watched; what is random in a temporary name is ########
    """

    kind: str
    path: str
    nth: int

    def __str__(self) -> str:
        return f"{self.kind} {self.nth} on {self.path or 'its folder'}"


@dataclass(frozen=True, slots=True)
class Fault:
    """This call fails so: the name of an errno, `SHORT` or `FULL`."""

    call: Call
    how: str


class Made(ctypes.Structure):
    """A call as the C source has it."""

    _fields_ = (("path", ctypes.c_char * _LENGTH), ("kind", ctypes.c_int32))


class Watch(ctypes.Structure):
    """What the C source shares with its watcher, field by field."""

    _fields_ = (
        ("folder", ctypes.c_char * 4096),
        ("fails", Made),
        ("how", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("nth", ctypes.c_int64),
        ("met", ctypes.c_int64),
        ("struck", ctypes.c_int64),
        ("path", ctypes.c_char * 8192),
        ("counted", ctypes.c_int64),
        ("calls", Made * _RECORDED),
    )


class FailingCalls:
    """The calls that watched processes make on files below one folder, and which of them fails.

    library: `failing_calls.c`, built
    memory:  a descriptor of the memory that they share, which processes inherit
    """

    def __init__(self, library: Path, memory: int) -> None:
        self.library, self.memory = library, memory
        self._watch = Watch.from_buffer(mmap.mmap(memory, ctypes.sizeof(Watch)))

    @classmethod
    def built(cls, library: Path, folder: Path) -> "FailingCalls":
        """Build the library, for calls on files below a folder, absolute and without links on the way.

        Raises:
            LstnError: gcc is not there, or not Linux on x86-64.
        """
        source = Path(__file__).with_suffix(".c")
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source), "-o", str(library)]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise LstnError(f"{source} can't be built", hint="it needs gcc, and Linux on x86-64") from error
        memory = os.memfd_create("calls", 0)  # not closed by exec
        os.ftruncate(memory, ctypes.sizeof(Watch))
        made = cls(library, memory)
        made._watch.folder = os.fsencode(folder)
        return made

    def arm(self, fault: Fault | None) -> None:
        """Forget what was called, and let a call fail from now on, or none."""
        watch = self._watch
        watch.nth = 0
        watch.counted = watch.struck = watch.met = 0
        if fault is not None:
            watch.fails.kind, watch.fails.path = CALLS.index(fault.call.kind), os.fsencode(fault.call.path)
            watch.how = {SHORT: _SHORT, FULL: _FULL}.get(fault.how, _ONCE)
            watch.error = getattr(errno, "ENOSPC" if fault.how == FULL else fault.how, 0)
            watch.nth = fault.call.nth

    def watch(self) -> None:
        """Watch this process, which can't be undone, and those that it forks.

        Raises:
            OSError: the system doesn't let it.
        """
        if code := ctypes.CDLL(str(self.library)).watch_calls(self.memory):
            raise OSError(code, os.strerror(code))

    @property
    def met(self) -> bool:
        """Whether the call that is to fail was made."""
        return bool(self._watch.met >= self._watch.nth)

    @property
    def struck(self) -> int:
        """How many calls have failed."""
        return int(self._watch.struck)

    @property
    def path(self) -> Path:
        """What the last of them was on."""
        return Path(os.fsdecode(self._watch.path))

    @property
    def calls(self) -> list[Call]:
        """What was called so far, in order.

        Raises:
            LstnError: more than are recorded.
        """
        counted = int(self._watch.counted)
        if counted > _RECORDED:
            raise LstnError(f"{counted} calls; at most {_RECORDED} are recorded")
        times: Counter[tuple[str, str]] = Counter()
        found = []
        for made in self._watch.calls[:counted]:
            what = CALLS[made.kind], os.fsdecode(made.path)
            times[what] += 1
            found.append(Call(*what, times[what]))
        return found
