"""Commands run in processes of their own while one of their system calls fails, and what becomes of their folder."""

import gc
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from benchmarks.support.faulting.command_process import CommandProcess
from benchmarks.support.faulting.failing_calls import FailingCalls, Fault
from benchmarks.support.faulting.fault_cases import FaultCase, make_photos
from benchmarks.support.faulting.fault_verdict import Ended, Files, files_below
from benchmarks.support.faulting.watched_command import LIBRARY, TOLD, WORLD, run_watched, words_for_python
from lstn.errors import LstnError

PHOTOS = "photos"

_SETTLED_S = 2.5
"""After it, lstn takes a photo for one that will not change, and keeps what it knows of it."""


class FaultyFolder:
    """A folder in which commands run again and again, from the same start.

    base: an absolute folder that is there, for all that is made
    """

    def __init__(self, base: Path) -> None:
        self._base = base.resolve()
        self.world, self._kept, self._photos = self._base / WORLD, self._base / "kept", self._base / PHOTOS
        self._told, self._modules = self._base / TOLD, self._base / "modules.txt"
        self._imported: set[str] = set()
        self.calls = FailingCalls.built(self._base / LIBRARY, self.world)

    def prepare(self, case: FaultCase, *, learn: bool = False) -> Files:
        """Make what a case starts from, and return that; learn: as `run` has it."""
        for folder in (self.world, self._kept):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("home", "tmp", "cache"):
            (self.world / name).mkdir(parents=True)
        make_photos(self.world / PHOTOS, case.images)
        time.sleep(_SETTLED_S)
        for words in case.before:
            ended = self.run(FaultCase(words, ()), learn=learn)
            if ended.code != 0:
                raise LstnError(f"lstn {' '.join(words)} failed without a fault: {ended.told}")
        if case.removed:
            (self.world / case.removed).unlink()
        found = files_below(self.world)
        self.world.rename(self._kept)
        (self._kept / PHOTOS).rename(self._photos)
        self.world.mkdir()
        self._photos.rename(self.world / PHOTOS)
        return found

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(path.is_file() for path in (self.world / PHOTOS).rglob("*"))

    def restart(self) -> None:
        """Put the folder back to what the case starts from; photos stay, as old as they are."""
        (self.world / PHOTOS).rename(self._photos)
        shutil.rmtree(self.world, ignore_errors=True)
        shutil.copytree(self._kept, self.world, symlinks=True)
        self._photos.rename(self.world / PHOTOS)

    def run(self, case: FaultCase, fault: Fault | None = None, *, new: bool = False, learn: bool = True) -> Ended:
        """Run the command in a process of its own.

        new:   in a new Python; else in a fork of this process
        learn: a fork that no fault met: import what it has imported, so that further ones find it there
        """
        self.calls.arm(fault)
        with self.started(case, new=new) as process:
            code = process.wait()
        if fault is None and learn and not new:
            self._import_likewise()
        return Ended(code, process.told, files_below(self.world))

    @contextmanager
    def started(self, case: FaultCase, *, new: bool = False) -> Iterator[CommandProcess]:
        """Start the command, and kill it at the end if it is still there."""
        self._told.write_bytes(b"")
        process = CommandProcess(self._spawned(case) if new else self._forked(case), self._told)
        try:
            yield process
        finally:
            process.kill()

    def _spawned(self, case: FaultCase) -> int:
        words = words_for_python(self._base, case, self.calls)
        return os.posix_spawn(words[0], words, os.environ)

    def _forked(self, case: FaultCase) -> int:
        if child := os.fork():
            return child
        code: object = 99
        try:
            run_watched(self._base, case, self.calls)
        except SystemExit as ended:
            code = ended.code
            self._modules.write_text("\n".join(sys.modules))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 98)

    def _import_likewise(self) -> None:
        new = [name for name in self._modules.read_text().split() if name not in self._imported]
        for name in new:
            with suppress(Exception):  # of what can't be imported by itself
                import_module(name)
        self._imported |= set(new)
        if new:  # the garbage collector of a fork would look through all of it, and so copy it
            gc.collect()
            gc.freeze()
