"""Disk of a simulated writer: a real folder whose calls fail, whose process dies at any of them, and whose power goes.

At a power cut a file that was never written out keeps part of its bytes, or zeros, and names that were given shortly
before are forgotten, the last one first: file systems with a journal promise the order, and no more.
"""

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

_ERRORS = (errno.ENOSPC, errno.EIO)


class Killed(BaseException):
    """The process was killed, or the power has gone."""


class SimulatedDisk:
    """The calls that `lstn.files` and the writer make on `folder`. met: faults, by name, how often

    fails, kills:  shares of calls
    after_listing: called when the folder has been listed: others may write there then
    """

    def __init__(self, folder: Path, chance: random.Random, met: Counter[str]) -> None:
        self.fails = 0.0
        self.kills = 0.0
        self.after_listing: Callable[[], None] = lambda: None
        self._folder = folder
        self._chance = chance
        self._met = met
        self._written_out: dict[int, bytes] = {}
        self._renamed: list[tuple[Path, Path, bytes | None]] = []

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let calls go through this disk, for a `with`."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(os, "fsync", self._fsync(os.fsync)))
            stack.enter_context(patch.object(os, "listdir", self._listdir(os.listdir)))
            stack.enter_context(patch.object(Path, "open", self._open(Path.open)))
            stack.enter_context(patch.object(Path, "replace", self._replace(Path.replace)))
            stack.enter_context(patch.object(Path, "unlink", self._any("unlink", Path.unlink)))
            stack.enter_context(patch.object(Path, "mkdir", self._any("mkdir", Path.mkdir)))
            yield

    def cut_power(self) -> None:
        """Leave on the disk what a power cut would."""
        self._met["a power cut"] += 1
        forgotten = self._chance.randint(0, min(3, len(self._renamed)))
        for source, target, before in reversed(self._renamed[len(self._renamed) - forgotten :]):
            if target.is_file():
                os.rename(target, source)  # noqa: PTH104 - past this disk
                if before is not None:
                    target.write_bytes(before)
                    self._written_out[target.stat().st_ino] = before
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.name != ".lock":
                self._tear(path)
        self._renamed.clear()

    def _tear(self, path: Path) -> None:
        data, safe = path.read_bytes(), self._written_out.get(path.stat().st_ino)
        if data != safe:
            kept = data[: self._chance.randint(0, len(data))]
            path.write_bytes(kept if self._chance.random() < 0.5 else kept + bytes(len(data) - len(kept)))

    def _strike(self, call: str, *, spares: bool = False) -> None:
        """Let a call fail, or the process die in it. spares: it doesn't die."""
        roll = self._chance.random()
        if roll < self.kills and not spares:
            self._met[f"killed in {call}"] += 1
            raise Killed
        if roll > 1 - self.fails:
            self._met[f"{call} that fails"] += 1
            code = self._chance.choice(_ERRORS)
            raise OSError(code, os.strerror(code))

    def _any(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def struck(path: Path, *given: Any, **named: Any) -> Any:
            # Whoever dies in the removal of the lock's file gives the lock back, which an exception here wouldn't.
            self._strike(call, spares=path.name == ".lock")
            return real(path, *given, **named)

        return struck

    def _listdir(self, real: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
        def listdir(path: Path) -> list[str]:
            found = real(path)
            self.after_listing()
            return found

        return listdir

    def _fsync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            self._strike("fsync")
            status = os.fstat(descriptor)
            self._written_out[status.st_ino] = os.pread(descriptor, status.st_size, 0)

        return fsync

    def _replace(self, real: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def replace(source: Path, target: Path) -> Path:
            self._strike("rename")
            self._renamed.append((source, target, target.read_bytes() if target.is_file() else None))
            done = real(source, target)
            self._strike("rename, afterwards") if self.kills else None
            return done

        return replace

    def _open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
            self._strike("open")
            stream = real(path, mode, *given, **named)
            return _Striking(stream, lambda: self._strike("write")) if "w" in mode else stream

        return opened


class _Striking:
    """A stream whose writes the disk may strike."""

    def __init__(self, stream: Any, strike: Callable[[], None]) -> None:
        self._stream = stream
        self._strike = strike

    def __enter__(self) -> "_Striking":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, data: Any) -> int:
        """Write, or not."""
        self._strike()
        return int(self._stream.write(data))

    def writelines(self, lines: Iterator[Any]) -> None:
        """Write line by line, or not all."""
        for line in lines:
            self.write(line)


def names_in(folder: Path) -> list[str]:
    """Return the files in a folder."""
    with suppress(FileNotFoundError):
        return sorted(path.name for path in folder.iterdir())
    return []
