"""Terminal output: progress and remarks on standard error, results on standard output."""

import codecs
import io
import os
import re
import sys
import warnings
from functools import cache
from pathlib import Path

from rich.console import Console

_PLAINLY = "lstn.plainly"
_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@\[]*):(?:[^\s/]*@|(?!\d+/)[^\s@]*@)")  # also of one that wasn't quoted
_SIGNED = re.compile(
    r"(?<=[?&])([^=&\s#]*(?:auth|cred|key|pass|pwd|secret|sig|token)[^=&\s#]*)=[^&\s#]+", re.IGNORECASE
)
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_IN_ASCII = {"…": "...", "█": "#", "°": " deg", "µ": "u", "✓": "yes", "✗": "no", "≈": "~", "─": "-"}


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


def speak_plainly() -> None:
    """Let standard output and error take any text: in an encoding that lacks our signs, others stand for them.

    The rest, such as a class in letters that the encoding lacks, or a byte of a name that isn't text, is escaped.
    """
    codecs.register_error(_PLAINLY, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAINLY)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError) or error.object[error.start] not in _IN_ASCII:
        return codecs.backslashreplace_errors(error)
    return _IN_ASCII[error.object[error.start]], error.start + 1


def printable(text: str) -> str:
    """Escape what a terminal or a reader could mistake: control characters, bidirectional marks, lone surrogates.

    The joiners stay: words of Persian and of Indic scripts are written with them, and many emoji. Passwords and tokens
    in URLs are left out.
    """
    return "".join(c if c.isprintable() or c in _JOINERS else _escaped(c) for c in without_secrets(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def without_secrets(text: str) -> str:
    """Return a text with `***` for the password of each URL in it, and for parameters that are called like a secret.

    `rtsp://user:***@camera/live`, `https://host/x.jpg?sig=***&page=2`
    """
    if "://" not in text:
        return text
    return _SIGNED.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))


def file_size(path: Path) -> str:
    """Return a file's size as a person reads it, such as `1.2 MB`."""
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
