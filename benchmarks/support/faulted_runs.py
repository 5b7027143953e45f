"""Commands run in a forked process while one of their system calls fails, and what becomes of their folder."""

import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

from benchmarks.support.failing_calls import FailingCalls, Fault
from benchmarks.support.fault_cases import FaultCase, make_photos
from benchmarks.support.fault_verdict import Ended, Files, files_below
from lstn.errors import LstnError

WAIT_S = 120.0
"""A command that takes longer hangs."""

_POLL_S = 0.002


class ForkedCommand:
    """A process forked from this one; `pid` is 0 in itself. told: the file that its standard error goes to."""

    def __init__(self, told: Path) -> None:
        self._told = told
        self._code: int | None = None
        self.pid = os.fork()

    @property
    def told(self) -> str:
        """What it has said so far."""
        return self._told.read_text(errors="replace")

    def wait(self) -> int | None:
        """Wait for its end, and return its exit code, negative for a signal; None if it hangs."""
        stop = time.monotonic() + WAIT_S
        while time.monotonic() < stop and not self._ended():
            time.sleep(_POLL_S)
        return self._code

    def hear(self, pattern: str, begin: int = 0) -> re.Match[str]:
        """Wait until it has said what `pattern` matches, from the character `begin` on.

        Raises:
            RuntimeError: it ends, or says nothing of that.
        """
        stop = time.monotonic() + WAIT_S
        while time.monotonic() < stop:
            ended = self._ended()  # asked first: it may speak before it ends
            if found := re.search(pattern, self.told[begin:], re.MULTILINE):
                return found
            if ended:
                raise RuntimeError(f"it ends with {self._code}")
            time.sleep(_POLL_S)
        raise RuntimeError("it hangs")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if not self._ended():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, if it is there."""
        if not self._ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _ended(self) -> bool:
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code is not None


class FaultyFolder:
    """A folder in which commands run again and again, from the same start.

    base: an absolute folder that is there, for all that is made
    """

    def __init__(self, base: Path) -> None:
        self._base = base.resolve()
        self.world = self._base / "world"
        self._kept = self._base / "kept"
        self._told, self._modules = self._base / "told.txt", self._base / "modules.txt"
        self.calls = FailingCalls(self._base, self.world)

    def prepare(self, case: FaultCase) -> Files:
        """Make what a case starts from, and return that."""
        for folder in (self.world, self._kept):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("home", "tmp", "cache"):
            (self.world / name).mkdir(parents=True)
        make_photos(self.world / "photos")
        for words in case.before:
            ended = self.run(FaultCase(words, ()))
            if ended.code != 0:
                raise LstnError(f"lstn {' '.join(words)} failed without a fault: {ended.told}")
        if case.removed:
            (self.world / case.removed).unlink()
        self.world.rename(self._kept)
        return files_below(self._kept)

    def restart(self) -> None:
        """Put the folder back to what the case starts from."""
        shutil.rmtree(self.world, ignore_errors=True)
        shutil.copytree(self._kept, self.world, symlinks=True)

    def run(self, case: FaultCase, fault: Fault | None = None) -> Ended:
        """Run the command in a process of its own, which finds all modules imported that an earlier one imported."""
        self.calls.arm(fault)
        with self.started(case) as process:
            code = process.wait()
        if fault is None:
            self._import_likewise()
        return Ended(code, process.told, files_below(self.world))

    @contextmanager
    def started(self, case: FaultCase) -> Iterator["ForkedCommand"]:
        """Start the command, and kill it at the end if it is still there."""
        self._told.write_bytes(b"")
        process = ForkedCommand(self._told)
        if not process.pid:
            self._live(case)
        try:
            yield process
        finally:
            process.kill()

    def _live(self, case: FaultCase) -> None:
        code: object = 99
        try:
            self._enter(case)
            sys.argv = ["lstn", *case.words]
            from lstn.cli.app import main

            case.changed()
            self.calls.watch()
            main()
        except SystemExit as ended:
            code = ended.code
            self._modules.write_text("\n".join(sys.modules))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 98)

    def _enter(self, case: FaultCase) -> None:
        rows = self.world / case.stdout if case.stdout else Path(os.devnull)
        for number, path, mode in ((1, rows, os.O_CREAT | os.O_TRUNC), (2, self._told, os.O_APPEND)):
            opened = os.open(path, os.O_WRONLY | mode)
            os.dup2(opened, number)
            os.close(opened)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
        os.chdir(self.world)
        os.environ |= {"HOME": str(self.world / "home"), "TMPDIR": str(self.world / "tmp")}
        os.environ["XDG_CACHE_HOME"] = str(self.world / "cache")

    def _import_likewise(self) -> None:
        for name in self._modules.read_text().split():
            if name not in sys.modules:
                with suppress(Exception):  # of what can't be imported by itself
                    import_module(name)
