"""Commands of `lstn` in processes of their own, with the time and the memory that each took."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

PATIENCE_S = 1800.0
_TOLD = 300


@dataclass(frozen=True, slots=True)
class EndedCommand:
    """A command that has ended. peak_mb: the largest resident memory of its process or of one that it started"""

    words: tuple[str, ...]
    code: int
    seconds: float
    peak_mb: float
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last line on standard error."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return lines[-1][:_TOLD] if lines else ""

    @property
    def in_order(self) -> bool:
        """Whether it ended with 0, or with 1 or 2 and one line that says why; in any case without a traceback."""
        if "Traceback (most recent call last)" in self.err + self.out:
            return False
        return self.code == 0 or (self.code in (1, 2) and self.said.startswith("error: "))


@dataclass(frozen=True, slots=True)
class LoadRow:
    """A row of the page.

    what:  what was run
    ended: of the command; None for what is none
    wrong: what is wrong with it; "" if nothing
    told:  what is worth saying of it: sizes, counts, or what it said
    """

    what: str
    seconds: float
    peak_mb: float
    code: int | None
    told: str
    wrong: str

    def row(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def found(what: str, ended: EndedCommand, told: str = "", wrong: str = "") -> LoadRow:
    """Return the row of a command that has ended; one that ended out of order is wrong in any case."""
    if not ended.in_order:
        wrong = wrong or f"ended with {ended.code}: {ended.err[-1500:]}"
    return LoadRow(what, round(ended.seconds, 1), round(ended.peak_mb), ended.code, told or ended.said, wrong)


def refused(what: str, ended: EndedCommand) -> LoadRow:
    """Return the row of a command that must not end well."""
    return found(what, ended, wrong="" if ended.code else "ended with 0")


def answered(what: str, ended: EndedCommand, told: str = "", wrong: str = "") -> LoadRow:
    """Return the row of a command that must end well."""
    return found(what, ended, told, wrong or (f"ended with {ended.code}: {ended.said}" if ended.code else ""))


def run_lstn(
    *words: object,
    cwd: Path,
    set_to: Mapping[str, str | None] | None = None,
    user: int | None = None,
    umask: int = -1,
    before: Callable[[], None] | None = None,
) -> EndedCommand:
    """Run `lstn` with these words, in this folder.

    set_to: variables of the environment that are other than here; None for those that it lacks
    user:   whose process it is
    before: runs in the new process, ahead of lstn
    """
    typed = tuple(map(str, words))
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    for name, value in (set_to or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    options: dict[str, Any] = {"cwd": cwd, "env": environment, "umask": umask, "preexec_fn": before}
    if user is not None:
        options |= {"user": user, "group": user, "extra_groups": []}
    return _ended([sys.executable, "-m", "lstn", *typed], typed, options)


def _ended(command: Sequence[str], words: tuple[str, ...], options: Mapping[str, Any]) -> EndedCommand:
    started = time.monotonic()
    with (
        TemporaryFile() as out,
        TemporaryFile() as err,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **options) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return EndedCommand(words, process.returncode, seconds, usage.ru_maxrss / 1000, *texts)


def mb(path: Path) -> str:
    """Return the size of a file."""
    return f"{path.stat().st_size / 1e6:.1f} MB"
