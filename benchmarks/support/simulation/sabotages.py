"""Defects put into the code on purpose, to see that the simulation finds each: one line of a function is changed."""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from lstn import files
from lstn.runtime.engines.slots import Slot
from lstn.runtime.ray.result_parts import Parts
from lstn.runtime.serving.models import served_model
from lstn.runtime.serving.models.batcher import Batcher
from lstn.runtime.serving.models.fairlock import FairLock
from lstn.runtime.serving.models.feeding import Feeder
from lstn.runtime.serving.models.registry import ModelRegistry
from lstn.runtime.serving.models.served_model import ServedModel
from lstn.runtime.serving.protocols.heads import Connection
from lstn.runtime.serving.protocols.http_app import HttpApp


@dataclass(frozen=True, slots=True)
class Edit:
    """One text of a function's source that another replaces. owner: the class or module through which it is called"""

    owner: Any
    function: str
    before: str
    after: str


SERVER: dict[str, tuple[Edit, ...]] = {
    "answers swapped within a batch": (
        Edit(served_model, "deliver", "for part in parts:", "for part in reversed(parts):"),
    ),
    "a lost wakeup of a new request": (Edit(Batcher, "enqueue", "self._changed.notify()", "pass"),),
    "a lost wakeup of a free engine": (Edit(Batcher, "answered", "self._changed.notify()", "pass"),),
    "a lost wakeup at the end": (Edit(Batcher, "close", "self._changed.notify()", "pass"),),
    "a queue without a bound": (Edit(Batcher, "admit", "self._waiting + count > self.max_queue", "False"),),
    "room that is never freed": (Edit(Batcher, "remove", "self._waiting -= left", "pass"),),
    "a drain that drops the queue": (
        Edit(Batcher, "close", "self._closed = True", "self._closed = True; self._queue.clear()"),
    ),
    "a drain that doesn't wait": (Edit(ModelRegistry, "drain", "await self._idle.wait()", "pass"),),
    "a reload that drops the queue": (
        Edit(ServedModel, "load", "older.batcher.close()", "older.batcher._queue.clear(); older.batcher.close()"),
    ),
    "turns without an order": (
        Edit(FairLock, "__enter__", "self._serving == mine", "not getattr(self, 'busy', 0)); setattr(self, 'busy', 1"),
        Edit(FairLock, "__exit__", "self._serving += 1", "self.busy = 0"),
    ),
    "two engines at a time": (Edit(FairLock, "__enter__", "self._serving == mine", "self._serving >= mine - 1"),),
    "rows of who has left": (Edit(Feeder, "_filled", "_copied(waiting, rows, 0)", "pass"),),
    "a slot that is given back too soon": (
        Edit(Slot, "submit", "self._count = count", "self._count = count; self._give_back(self, work)"),
    ),
    "an end that waits for idle clients": (
        Edit(Connection, "_leave_soon", "self.loop.call_later(_GOODBYE_S, self._leave)", "None"),
    ),
    "a request that the end cuts off": (
        Edit(HttpApp, "__call__", "except asyncio.CancelledError:", "except ZeroDivisionError:"),
    ),
    "a failure that nobody hears of": (Edit(served_model, "refuse", "fail(part.reservation, refusal)", "pass"),),
    "an answer for the wrong piece": (
        Edit(served_model, "deliver", "if part.stop == reservation.count", "if part.start == 0"),
    ),
}
"""Defects of the server, by name."""

TWO_ANSWERS = (Edit(Batcher, "first_to_settle", "return first", "return not reservation.future.done()"),)
"""Two threads settle one request; a test of its own lets them meet, which whole servers hardly ever do."""

WRITER: dict[str, tuple[Edit, ...]] = {
    "a part that is not written out": (Edit(files, "replacing", "_flush_to_disk(temporary)", "pass"),),
    "rows that are taken twice": (Edit(Parts, "add", "if key not in self.done:", "if True:"),),
    "a part over another": (Edit(Parts, "flush", "self._number += 1", "pass"),),
    "a part under its own name at once": (
        Edit(files, "replacing", "temporary = temporary_beside(final)", "temporary = final"),
    ),
    "parts that nobody reads again": (Edit(Parts, "__init__", "self.done.add(key_of(name))", "pass"),),
}
"""Defects of the writer of results, by name."""


@contextmanager
def sabotaged(edits: tuple[Edit, ...]) -> Iterator[None]:
    """Run the code with these edits, for a `with`."""
    with ExitStack() as stack:
        for each in edits:
            stack.enter_context(patch.object(each.owner, each.function, edited(each)))
        yield


def edited(edit: Edit) -> Any:
    """Return the function with its edit.

    Raises:
        ValueError: its source doesn't have the text, or not once.
    """
    function = getattr(edit.owner, edit.function)
    inner = inspect.unwrap(function)
    source = textwrap.dedent(inspect.getsource(inner))
    if source.count(edit.before) != 1:
        raise ValueError(f"{edit.function} has {edit.before!r} {source.count(edit.before)} times")
    made: dict[str, Any] = {}
    exec(compile(source.replace(edit.before, edit.after), "<sabotaged>", "exec"), inner.__globals__, made)
    return made[edit.function]
