"""Command of `lstn` in this process, whose system calls are watched from its first import on.

    python -m benchmarks.support.faulting.watched_command BASE MEMORY CHANGED STDOUT WORD …

runs one in a new process, up to the end of Python itself. BASE and MEMORY are as `FaultyFolder` has them; CHANGED is a
function of `fault_cases`.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from benchmarks.support.faulting import fault_cases
from benchmarks.support.faulting.failing_calls import FailingCalls
from benchmarks.support.faulting.fault_cases import FaultCase

WORLD, TOLD, LIBRARY = "world", "told.txt", "failing_calls.so"
"""In a base folder: where commands run, what one says on standard error, and what watches it."""


def words_for_python(base: Path, case: FaultCase, calls: FailingCalls) -> list[str]:
    """Return how a new Python is started that runs a command."""
    given = (str(base), str(calls.memory), case.changed.__name__, case.stdout, *case.words)
    return [sys.executable, "-m", __name__, *given]


def run_watched(base: Path, case: FaultCase, calls: FailingCalls) -> NoReturn:
    """Run the command in the base's world; it ends with SystemExit."""
    _enter(base / WORLD, base / TOLD, case.stdout)
    sys.argv = ["lstn", *case.words]
    calls.watch()
    from lstn.cli.app import main

    case.changed()
    main()


def _enter(world: Path, told: Path, stdout: str) -> None:
    rows = world / stdout if stdout else Path(os.devnull)
    for number, path, mode in ((1, rows, os.O_CREAT | os.O_TRUNC), (2, told, os.O_APPEND)):
        opened = os.open(path, os.O_WRONLY | mode)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(world)
    tempfile.tempdir = None  # which the process that this one forked from has chosen
    os.environ |= {"HOME": str(world / "home"), "TMPDIR": str(world / "tmp"), "XDG_CACHE_HOME": str(world / "cache")}


if __name__ == "__main__":
    _base, _memory, _changed, _stdout, *_words = sys.argv[1:]
    run_watched(
        Path(_base),
        FaultCase(tuple(_words), (), changed=getattr(fault_cases, _changed), stdout=_stdout),
        FailingCalls(Path(_base, LIBRARY), int(_memory)),
    )
