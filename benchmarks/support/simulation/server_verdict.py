"""Invariants of a simulated server: queues are bounded, turns are fair, every answer is right and comes in time."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.support.simulation.clients import Asked
from benchmarks.support.simulation.scheduler import Scheduler
from lstn.runtime.serving.models.served_model import ServedModel

if TYPE_CHECKING:
    from benchmarks.support.simulation.server_world import ServerWorld

_PATIENCE_S = 30.0
"""A request has its answer by then, and a few times the work that all queues hold, if the engines answer."""

_ACCEPTED_S = 0.5
"""A request that has arrived is accepted by then."""

_STOP_S = 4.0
"""From the last answer to the server's end: its own last words, and a client's."""

_SLACK_S = 1e-6


class WatchedQueues:
    """Looks at every queue whenever another thread goes on."""

    def __init__(self, models: Mapping[str, ServedModel], max_queue: int, wrong: list[str]) -> None:
        self._models = models
        self._most = max_queue
        self._wrong = wrong

    def __call__(self) -> None:
        """Note a queue that holds more than it may, or than it counts."""
        for name, model in self._models.items():
            if model.generation is None or self._wrong:
                continue
            batcher: Any = model.generation.batcher
            queued = sum(each.count - each.taken for each in batcher._queue)
            if queued > self._most or not 0 <= batcher.waiting <= self._most:
                self._wrong.append(f"{name} has {queued} images queued, counts {batcher.waiting} of {self._most}")
            elif batcher._changed.free and queued > batcher.waiting:
                self._wrong.append(f"{name} has {queued} images queued, and counts {batcher.waiting}")


class Turns:
    """Watches who gets the engines' lock: nobody twice while another waits."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.wrong: list[str] = []
        self._scheduler = scheduler
        self._overtaken: dict[object, Counter[object]] = defaultdict(Counter)

    def entering(self, kind: type) -> Callable[[Any], None]:
        """Return `kind.__enter__`, watched."""
        enter = kind.__enter__  # type: ignore[attr-defined]

        def watched(lock: Any) -> None:
            enter(lock)
            mine = self._scheduler.current
            self._overtaken.pop(mine, None)
            for waiter in lock._changed.waiters:
                if waiter is not mine:
                    self._overtaken[waiter][mine] += 1
                    if self._overtaken[waiter][mine] > 1:
                        self.wrong.append(f"{mine.name} had two turns while {waiter.name} waited")

        return watched


def slow_stop(world: "ServerWorld", asked: Sequence[Asked], stopped_at: float) -> Iterator[str]:
    """Yield that the server took long to stop, if nobody held it up."""
    if world.hung or any(each.spoilt or each.answer == "left" for each in asked):
        return
    busy = max([world.stopped_at, *(each.ended for each in asked if each.whole and each.started < stopped_at)])
    if stopped_at - busy > _STOP_S:
        yield f"the server stopped {stopped_at - busy:.1f} s after its last answer"


def wrong_answers(world: "ServerWorld", asked: Sequence[Asked]) -> Iterator[str]:
    """Yield what must not have been answered, or not so."""
    for number, each in enumerate(asked):
        if told := _wrong(world, each, asked):
            yield f"request {number} ({each.answer} after {each.ended - each.started:.3f} s): {told}"


def _wrong(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    """Return what is wrong with one answer; empty if it may be so."""
    verdict = _VERDICTS.get(each.answer)
    if verdict is None:
        return f"nobody should be told so: {each.told}"
    took = each.ended - each.started
    if took > _PATIENCE_S + 4 * world.faults.batch_s * world.max_queue * len(world.files) and not (
        world.hung or each.spoilt
    ):
        return "it took too long"
    return verdict(world, each, asked)


def _answered(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    if [row[:2] for row in each.rows] != [[number, number] for number in each.numbers]:
        return f"answered with {each.rows}, which is not its own of {each.numbers}"
    if {row[3] for row in each.rows} != {each.model}:
        return "another model answered"
    versions = {row[2] for row in each.rows}
    newest = world.versions[f"m{each.model}"]
    return "" if len(versions) == 1 and max(1, each.oldest) <= min(versions) <= newest else f"version {versions}"


def _refused(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    """Overloaded, or not ready: only if it may have been so."""
    if "queue is full" in each.told or "too many calls" in each.told:
        held = sum(
            len(other.numbers)
            for other in asked
            if other.model == each.model
            and other.started <= each.ended
            and (other.ended >= each.started or other.answer == "left")
        )
        return "" if held > world.max_queue else f"the queue can't be full with {held} images at most"
    if "not ready" in each.told:
        return "" if each.oldest == 0 else "the model was ready"
    if any(told in each.told for told in ("stopping", "no server", "cancelled")):
        if each.oldest and each.arrived + _ACCEPTED_S < world.stopped_at and not (world.late or world.hung):
            return f"it was accepted before the stop, and then told {each.told!r}"
        return "" if world.stopped_at <= each.ended or each.oldest == 0 else f"nobody stopped the server: {each.told}"
    return f"told {each.told!r}"


def _invalid(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    return "" if each.spoilt or len(each.numbers) > world.max_queue else f"told {each.told!r}"


def _failed(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    if "engine failed" in each.told and world.met["a batch that fails"]:
        return ""
    if "not a number" in each.told and world.met["an answer that is not a number"]:
        return ""
    return f"told {each.told!r}"


def _expired(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    if each.timeout_s is None:
        return "it has no deadline"
    return "" if each.ended - each.started >= each.timeout_s - _SLACK_S else "its deadline hasn't passed"


def _slow(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    return "" if each.spoilt else "it was sent in time"


def _lost(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    """Without an answer: only what didn't arrive, whoever didn't listen, or because an engine never answered."""
    return "" if not each.whole or each.spoilt or world.late else "it arrived, and has no answer"


def _left(world: "ServerWorld", each: Asked, asked: Sequence[Asked]) -> str:
    return ""


_VERDICTS: dict[str, Callable[["ServerWorld", Asked, Sequence[Asked]], str]] = {
    "200": _answered,
    "400": _invalid,
    "INVALID_ARGUMENT": _invalid,
    "408": _slow,
    "500": _failed,
    "INTERNAL": _failed,
    "503": _refused,
    "RESOURCE_EXHAUSTED": _refused,
    "UNAVAILABLE": _refused,
    "504": _expired,
    "DEADLINE_EXCEEDED": _expired,
    "lost": _lost,
    "left": _left,
}
