"""Commands of `lstn` in processes of their own, with the time and the memory that each took."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

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
        """The error on standard error, or the last line there."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines or [""])[-1][:_TOLD]

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
) -> EndedCommand:
    """Run `lstn` with these words, in this folder.

    set_to: variables of the environment that are other than here; None for those that it lacks
    user:   whose process it is
    """
    typed = tuple(map(str, words))
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    for name, value in (set_to or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    options: dict[str, Any] = {"cwd": cwd, "env": environment, "umask": umask}
    other = [] if user is None else [*_AS_ANOTHER, f"--reuid={user}", f"--regid={user}"]
    return _ended([*other, sys.executable, "-m", "lstn", *typed], typed, options)


_AS_ANOTHER = ("/usr/bin/setpriv", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""Makes a process another user's, who may read everything: Python may lie in a folder of root's."""

_LAUNCHER = """
import os, sys, time
begun = time.monotonic()
process = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(process, 0)
code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - begun
os.write(int(sys.argv[1]), f"{code} {seconds} {usage.ru_maxrss / 1000}".encode())
"""
"""Starts the command from a process that is small: its child counts what it had before it became the command."""


def _ended(command: Sequence[str], words: tuple[str, ...], options: Mapping[str, Any]) -> EndedCommand:
    with TemporaryFile() as out, TemporaryFile() as err, TemporaryFile() as told:
        launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(told.fileno()), *command]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, "pass_fds": (told.fileno(),)}
        subprocess.run(launched, **pipes, **options, check=True)
        told.seek(0)
        code, seconds, peak_mb = told.read().split()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
    return EndedCommand(words, int(code), float(seconds), float(peak_mb), *texts)


def mb(path: Path) -> str:
    """Return the size of a file."""
    return f"{path.stat().st_size / 1e6:.1f} MB"
