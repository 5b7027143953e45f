"""Process of a command: what it says, how it ends, and the signals that it gets."""

import os
import re
import signal
import time
from pathlib import Path

WAIT_S = 120.0
"""A command that takes longer hangs."""

_POLL_S = 0.002


class CommandProcess:
    """A child of this process. told: the file that its standard error goes to."""

    def __init__(self, pid: int, told: Path) -> None:
        self.pid, self._told = pid, told
        self._code: int | None = None

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
