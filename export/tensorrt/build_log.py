"""TensorRT's logger: errors for messages, everything for a file."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from lstn.errors import LstnError
from lstn.terminal import warn

_NO_DRIVER = "cudaError 35"


@cache
def logger_of(trt: Any) -> Any:
    """Return the logger of a TensorRT module, which keeps errors to itself until they are asked for.

    One for the process: TensorRT keeps using the first that it meets, and warns of any other.
    """

    class TensorRtBuildLog(BuildLog, trt.ILogger):  # type: ignore[misc]  # of a package that may be missing
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            BuildLog.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            self.add(severity.name, message, is_error=severity <= trt.ILogger.ERROR)

    return TensorRtBuildLog()


class BuildLog:
    """Errors of the current build, oldest first; and whatever TensorRT says, in a file if one is wanted."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._file: TextIO | None = None
        self._lost: list[OSError] = []
        self._start = 0.0

    def add(self, severity: str, message: str, *, is_error: bool) -> None:
        """Take one message, from any of TensorRT's threads. Never raises: that would end the process."""
        line = " ".join(message.split())
        if is_error:
            self.lines.append(line)
        if self._file is not None:
            with suppress(ValueError):  # another thread's last words after the file is closed
                try:
                    self._file.write(f"{time.monotonic() - self._start:9.3f} s  {severity:<14}  {line}\n")
                except OSError as error:  # a full disk
                    self._lost.append(error)

    def text(self) -> str:
        """Return what went wrong, on one line."""
        return told(self.lines)[:600] or "it gave no reason"

    @contextmanager
    def writing(self, path: Path | None, title: str) -> Iterator[None]:
        """Forget older errors; write `title` and every message to `path` as it comes, whatever the build's end.

        Raises:
            LstnError: the file can't be written.
        """
        self.lines.clear()
        if path is None:
            yield
            return
        self._start = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A line at a time: whoever watches a build that takes minutes reads along.
            file = path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1)
            file.write(f"{title}\n")
        except OSError as error:
            raise LstnError(f"cannot write {path}: {error.strerror or error}", hint="choose another place") from error
        self._file = file
        self._lost.clear()
        try:
            yield
        finally:
            self._file = None
            with suppress(OSError):
                file.close()
            for lost in self._lost[:1]:
                warn(f"{path}: {lost.strerror or lost}; it holds a part of what TensorRT said")


def told(lines: Iterable[str]) -> str:
    """Join what TensorRT said, but for the missing driver, which a build for a named GPU doesn't need."""
    said = tuple(dict.fromkeys(lines))
    return "; ".join([line for line in said if _NO_DRIVER not in line] or said)
