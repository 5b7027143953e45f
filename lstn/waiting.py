"""Progress of long work: what a command does, how far it is, and how long it still takes.

On a terminal that is a bar. In a pipe or a file it is a line at the beginning, and one at least every 30 seconds.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console

from lstn.terminal import messages, note, printable

T = TypeVar("T")

EVERY_S = 30.0
"""How long a pipe stays silent at most."""


def say_loading(what: str) -> None:
    """Say what begins, if PyTorch has still to be imported for it: that takes seconds, and more on a busy machine."""
    if "torch" not in sys.modules and os.environ.get("RANK", "0") == "0":  # of torchrun's processes the first speaks
        note(f"{what}: loading PyTorch")


def duration(seconds: float) -> str:
    """Return a time as a person says it: `about 40 s`, `about 3 min`, `about 2.5 h`, `about 3 days`."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    hours = seconds / 3600
    return f"about {hours:.2g} h" if hours < 72 else f"about {hours / 24:.0f} days"


@contextmanager
def telling(describe: Callable[[], str]) -> Iterator[None]:
    """Say what `describe` returns every 30 seconds, unless on a terminal, where a bar shows it."""
    if messages().is_terminal:
        yield
        return
    done = threading.Event()

    def tell() -> None:
        while not done.wait(EVERY_S):
            note(describe())

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


@contextmanager
def working(
    what: str, total: int | None = None, *, console: Console | None = None, hidden: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show that `what` goes on until the end of the `with`, and yield what moves it on by a number of steps.

    total:   steps in all; None where nobody knows, and only the time is shown
    console: where a bar is drawn, standard error's by default; with `hidden` there is none
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Left

    drawn = console or messages()
    began, done = time.monotonic(), 0

    def describe() -> str:
        took = time.monotonic() - began
        if total is None or not done:
            return f"{what}: {duration(took)} so far"
        return f"{what}: {done:,} of {total:,}, {duration(took / done * (total - done))} left"

    def advance(count: int) -> None:
        nonlocal done
        done += count
        bar.advance(task, count)

    if not drawn.is_terminal and not hidden:
        note(what)
    ends = (MofNCompleteColumn(), Left(compact=True)) if total is not None else (TimeElapsedColumn(),)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None if total is not None else 24),
        *ends,
        console=drawn,
        transient=True,
        disable=hidden or not drawn.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with telling(describe), bar:
        task = bar.add_task(printable(what), total=total)
        yield advance


def worked(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield `items`, of which there are `total`, and show how far they are."""
    with working(what, total) as advance:
        for item in items:
            yield item
            advance(1)
