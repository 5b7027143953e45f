"""Schedule of a run: how many epochs it is planned for, and how far its learning rate has fallen at each step."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lstn.health.run_health import Epoch
from lstn.train.runs.options import Options

HOUR_S = 3600.0

_RECENT = 3
"""Epochs whose mean time is that of the next ones."""


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """An epoch, and the shares of the schedule, 0..1, at which it begins and ends."""

    number: int
    begins: float
    ends: float

    def share(self, done: float) -> float:
        """Return how far the schedule is when a share `done` of the epoch is."""
        return self.begins + (self.ends - self.begins) * done


def epochs_planned(options: Options, history: Sequence[Epoch]) -> int:
    """Return how many epochs a run is to have, as far as `history` can tell.

    A time budget has as many as fit into it at the pace of the last ones, which is known after the first. The epoch
    that was planned as the last one is it, since the learning rate is nothing after it, unless the budget has changed.
    So a run takes longer than its budget only where its last two epochs take longer than those before.
    """
    finished, hours = len(history), options.recipe.hours
    if not hours or not finished:
        return options.epochs
    if history[-1].get("hours") == hours and history[-1].get("planned") == finished:
        return finished
    pace_s = statistics.fmean(row["seconds"] for row in history[-_RECENT:])
    return finished + max(1, int((hours * HOUR_S - spent_s(history)) / max(pace_s, 1e-3)))


def next_epoch(options: Options, history: Sequence[Epoch]) -> EpochPlan:
    """Return the plan of the epoch that follows `history`, which decides it: a run that is resumed has the same one.

    Of a time budget it begins at the share that is spent, and the epochs to come share what is left evenly.
    """
    number, planned = len(history) + 1, epochs_planned(options, history)
    if not options.recipe.hours:
        return EpochPlan(number, (number - 1) / planned, number / planned)
    begins = min(1.0, spent_s(history) / (options.recipe.hours * HOUR_S))
    return EpochPlan(number, begins, begins + (1 - begins) / max(1, planned - number + 1))


def spent_s(history: Sequence[Epoch]) -> float:
    """Return the seconds of all epochs, validation included."""
    return sum(row["seconds"] for row in history)
