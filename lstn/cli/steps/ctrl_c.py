"""Ctrl-C and SIGTERM in a run: one line that says what is kept, and how to go on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from lstn.health.run_health import finished_epochs
from lstn.terminal import note


@contextmanager
def stopping(folder: Path, how_to_go_on: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one line that says what is kept of `folder`, if there is anything in it."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
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
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
