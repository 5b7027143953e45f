"""Open files of the server: as many as the system allows, and one line a minute when there are no more."""

import asyncio
import errno
import time
from typing import Any

from lstn.terminal import warn

_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AGAIN_S = 60.0


def allow_many_files() -> None:
    """Let this process open as many files as it may at most; each connection is one.

    The usual limit of 1,024 is for programs that call select(), which takes no higher numbers. Nothing here does.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class LoopFaults:
    """An exception handler for an event loop: a fault that nobody waits for is one line.

    asyncio tells of a connection that it can't accept up to 2,048 times a second, each time with a traceback. It tries
    again by itself.
    """

    def __init__(self) -> None:
        self._told_s = -_AGAIN_S

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what happened."""
        error = context.get("exception")
        if isinstance(error, ValueError) and "_start_serving" in context["message"]:
            return  # it tries again after the server was closed, whose socket has no number any more
        if not isinstance(error, OSError) or error.errno not in _NONE_LEFT:
            warn(f"{context['message']}: {type(error).__name__}: {error}" if error else context["message"])
        elif (now := time.monotonic()) - self._told_s >= _AGAIN_S:
            self._told_s = now
            warn(f"new connections wait for older ones to close: {error.strerror}; allow more files with ulimit -n")
