"""The search: Optuna proposes a file, a batch size and a number of threads, and each setting is timed once."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lstn.imports import require
from lstn.research.tune.candidates import Candidate

_REPEATS = 20
"""Proposals in a row that were timed before; then one that was not is drawn."""

_STARTS = 6
"""Trials that are drawn at random before the sampler learns from them.

The sampler is a Gaussian process. On the table of tests/research/test_setting_search.py, with 10 trials of 48 settings,
it found the fastest in all of 20 searches. Optuna's usual sampler, a tree of Parzen estimators, found 95 % of its
images/s in 6 of them."""


@dataclass(frozen=True, slots=True)
class TunedSetting:
    """What is timed: a file with its engine, images a call, and threads."""

    candidate: Candidate
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"{self.candidate.version}, batch {self.batch}, {self.threads} threads"


@dataclass(frozen=True, slots=True)
class CallTime:
    """How long a call takes, and how many images a second its median comes to."""

    p50_ms: float
    p99_ms: float
    images_per_s: float


@dataclass(frozen=True)
class SettingSpace:
    """All that may be chosen; every combination is one setting."""

    candidates: Sequence[Candidate]
    batches: Sequence[int]
    threads: Sequence[int]

    def __len__(self) -> int:
        return math.prod(map(len, self._axes.values()))

    def setting(self, places: dict[str, int]) -> TunedSetting:
        """Return the setting at these places, one for each axis."""
        chosen = {name: axis[places[name]] for name, axis in self._axes.items()}
        return TunedSetting(**chosen)

    def places(self) -> list[dict[str, int]]:
        """Return where every setting is."""
        found: list[dict[str, int]] = [{}]
        for name, axis in self._axes.items():
            found = [before | {name: place} for before in found for place in range(len(axis))]
        return found

    def propose(self, trial: Any) -> dict[str, int]:
        """Let an Optuna trial choose: numbers have an order, files have none."""
        files = range(len(self.candidates))
        return {
            "candidate": trial.suggest_categorical("candidate", list(files)),
            "batch": trial.suggest_int("batch", 0, len(self.batches) - 1),
            "threads": trial.suggest_int("threads", 0, len(self.threads) - 1),
        }

    @cached_property
    def _axes(self) -> dict[str, Sequence[Any]]:
        return {"candidate": self.candidates, "batch": self.batches, "threads": self.threads}


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How to search.

    trials:  how many settings are timed
    p99_ms:  how long a call may take at most, in 99 of 100 cases; None: any time
    seed:    of the proposals
    journal: a file that keeps every trial, so that a search that was stopped goes on; None: nothing is kept
    name:    what the trials depend on as well as on the space: the model, the machine, the seconds of a trial
    """

    trials: int
    p99_ms: float | None
    seed: int
    journal: Path | None = None
    name: str = ""


def search(
    space: SettingSpace, time: Callable[[TunedSetting], CallTime], plan: SearchPlan, *, tell: Callable[[int], None]
) -> list[tuple[TunedSetting, CallTime]]:
    """Time up to `plan.trials` different settings, those that were timed before included; return them in order.

    tell: hears how many more are done

    Raises:
        MissingExtra: Optuna is not installed.
        LstnError: what `time` raises.
    """
    optuna = require("optuna", extra="tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _study(optuna, space, plan)
    found = {_key(trial.params): _time_of(trial) for trial in study.get_trials(states=[_complete(optuna)])}
    tell(len(found))
    repeats, most = 0, min(plan.trials, len(space))
    unseen = [places for places in space.places() if _key(places) not in found]
    while len(found) < most:
        if repeats >= _REPEATS:  # nothing new is proposed any more
            study.enqueue_trial(unseen[(plan.seed + len(found)) % len(unseen)])
        trial = study.ask()
        key = _key(space.propose(trial))
        repeats = repeats + 1 if key in found else 0
        if key not in found:
            found[key] = time(space.setting(dict(key)))
            unseen.remove(dict(key))
            tell(1)
        _keep(study, trial, found[key], plan)
    return [(space.setting(dict(key)), timed) for key, timed in found.items()]


def _study(optuna: Any, space: SettingSpace, plan: SearchPlan) -> Any:
    sampler = optuna.samplers.GPSampler(seed=plan.seed, n_startup_trials=_STARTS)
    storage = None
    if plan.journal is not None:
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(plan.journal)))
    told = [plan.name, *(each.version for each in space.candidates), *space.batches, *space.threads]
    name = hashlib.sha256("\n".join(map(str, told)).encode()).hexdigest()
    return optuna.create_study(
        storage=storage, study_name=name, direction="maximize", sampler=sampler, load_if_exists=True
    )


def _keep(study: Any, trial: Any, timed: CallTime, plan: SearchPlan) -> None:
    if plan.p99_ms is not None:
        trial.set_constraint("p99", timed.p99_ms - plan.p99_ms)
    trial.set_user_attr("p50_ms", timed.p50_ms)
    trial.set_user_attr("p99_ms", timed.p99_ms)
    study.tell(trial, timed.images_per_s)


def _time_of(trial: Any) -> CallTime:
    return CallTime(float(trial.user_attrs["p50_ms"]), float(trial.user_attrs["p99_ms"]), float(trial.value))


def _key(places: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(places.items()))


def _complete(optuna: Any) -> Any:
    return optuna.trial.TrialState.COMPLETE
