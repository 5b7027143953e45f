"""Terminal output: progress and remarks on standard error, results on standard output."""

import os
import sys
import warnings
from functools import cache
from pathlib import Path

from rich.console import Console


@cache
def messages() -> Console:
    """The console for everything that isn't a result."""
    return Console(stderr=True, highlight=False, emoji=False)  # folder:cat: is a path


def note(text: str) -> None:
    """Say one line on standard error."""
    messages().print(printable(text), markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Say one line on standard error that the user should act on."""
    messages().print(f"warning: {printable(text)}", style="yellow", markup=False, soft_wrap=True)


def hush_warnings() -> None:
    """Keep Python's warnings, which are written for programmers, off the terminal, and of processes started from here.

    What a user has set with python -W or PYTHONWARNINGS stays.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"


@cache
def warn_once(text: str) -> None:
    """Say one line on standard error, once in this process: a study opens its data set for every run."""
    warn(text)


@cache
def note_once(text: str) -> None:
    """Say one line on standard error, once in this process."""
    note(text)


def printable(text: str) -> str:
    """Escape what a terminal or a reader could mistake: control characters, bidirectional marks, lone surrogates."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def file_size(path: Path) -> str:
    """Return a file's size as a person reads it, such as `1.2 MB`."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
