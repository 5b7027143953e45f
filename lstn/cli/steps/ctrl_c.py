"""Ctrl-C and SIGTERM in a run: one line that says what is kept, and how to go on."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from lstn.health.run_health import finished_epochs
from lstn.terminal import note

_AGAIN_S = 0.05


@contextmanager
def stopping(folder: Path, how_to_go_on: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one line that says what is kept of `folder`, if there is anything in it."""
    with _signals():
        try:
            yield
        except KeyboardInterrupt:
            begun = folder.is_dir() and any(folder.iterdir())
            kept = f"stopped; every finished epoch is kept. Go on with: {how_to_go_on}"
            note(kept if begun else "stopped before training began")
            if finished := finished_epochs(folder):
                note(f"for test figures and pictures of the best epoch so far: {how_to_go_on} --epochs {finished}")
            raise typer.Exit(130) from None
        finally:
            with suppress(OSError):
                folder.rmdir()  # of a run that never began; a folder with a file in it stays


@contextmanager
def _signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for the first SIGINT or SIGTERM alone: a second one would hit the cleaning up.

    Python drops what is raised within a destructor, such as that of a loader's processes, and prints a traceback. The
    signal then comes once more, a moment later. What else fails there, such as the wait for processes that the same
    signal has ended, is of no interest any more.
    """
    stopped = threading.Event()
    again: list[threading.Timer] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    heard = [each for each, handler in before.items() if handler is not signal.SIG_IGN]

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        stopped.set()
        raise KeyboardInterrupt

    def listen() -> None:
        for each in heard:
            signal.signal(each, interrupt)

    def drop(lost: "sys.UnraisableHookArgs") -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            if not stopped.is_set():
                hook(lost)
            return
        listen()
        again.append(threading.Timer(_AGAIN_S, os.kill, (os.getpid(), heard[0])))
        again[-1].start()

    hook, sys.unraisablehook = sys.unraisablehook, drop
    listen()
    try:
        yield
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        for each, handler in before.items():
            signal.signal(each, handler)
