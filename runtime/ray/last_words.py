"""A line that is said for a process which can't say it: Ray ends a driver at once when its node has gone."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_LISTENER = "import sys; sys.stdin.buffer.read() or sys.stderr.write(sys.argv[1] + '\\n')"
"""Reads until the other end of its pipe is closed; with nothing in it, nobody was left to close it."""


@contextmanager
def last_words(line: str) -> Iterator[None]:
    """Have a process of its own write a line to this one's standard error, if this one ends within the block."""
    command = [sys.executable, "-I", "-S", "-c", _LISTENER, line]
    # Ctrl-C is for the whole group, and a session of its own is in another one.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True) as other:
        assert other.stdin is not None
        try:
            yield
        finally:
            with suppress(OSError):  # it was ended before
                other.stdin.write(b"well")
                other.stdin.close()
