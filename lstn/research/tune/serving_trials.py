"""Trials of a server's settings as JSON: written after each, and read where a tuning goes on that was stopped."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lstn.research.tune.open_loop import RequestTimes
from lstn.research.tune.server_under_load import ServingSetting
from lstn.untrusted.checked_json import Count, Finite, Magnitude, Natural, checked, damaged, parsed, read_bytes

VERSION = 1

_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class _KeptTrial:
    max_batch: Count
    max_wait_ms: Magnitude
    requests: Count
    unanswered: Natural
    answered_per_s: Magnitude
    p50_ms: Finite | None
    p99_ms: Finite | None


@dataclass(frozen=True, slots=True)
class _KeptTrials:
    version: Natural
    key: str
    trials: tuple[_KeptTrial, ...] = ()


def trial_report(setting: ServingSetting, times: RequestTimes) -> dict[str, Any]:
    """Return one trial for JSON, which has no infinity: a time without an answer is null."""
    return {**asdict(setting), **{name: None if each == math.inf else each for name, each in asdict(times).items()}}


def trials_report(served: str, key: str, trials: Mapping[ServingSetting, RequestTimes]) -> dict[str, Any]:
    """Return trials for JSON, as `kept_trials` reads them. served: the model's name"""
    found = [trial_report(setting, times) for setting, times in trials.items()]
    return {"served": served, "version": VERSION, "key": key, "trials": found}


def kept_trials(path: Path, key: str) -> dict[ServingSetting, RequestTimes]:
    """Return the trials in a file, if they have this key; none if there is no such file.

    Raises:
        ArtifactError: it can't be read, or is damaged.
    """
    if not path.exists():
        return {}
    data = read_bytes(path, most=_MOST_BYTES, what="figures of lstn tune")
    try:
        kept = checked(parsed(data), _KeptTrials)
    except ValueError as error:
        raise damaged(path, "figures of lstn tune", error, hint="remove it, and everything is tried again") from error
    if (kept.version, kept.key) != (VERSION, key):
        return {}
    return {
        ServingSetting(each.max_batch, each.max_wait_ms): RequestTimes(
            each.requests, each.unanswered, each.answered_per_s, _or_never(each.p50_ms), _or_never(each.p99_ms)
        )
        for each in kept.trials
    }


def _or_never(time_ms: float | None) -> float:
    return math.inf if time_ms is None else time_ms
