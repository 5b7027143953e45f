"""One tuning of a server from end to end: try every setting under the load, and the best of them again, in turn.

There are few settings, and each takes seconds, so all are tried: a search that proposes some would save a minute, and
could miss the best. Requests are as many whatever the setting; what differs is how long they take. The limit is on p99,
and the best is the one with the lowest p50: of a few hundred requests p99 says more of what else the machine did.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lstn.errors import UsageError
from lstn.files import hashed, write_text
from lstn.formats.outputs import PAGE, SERVING_TUNING, OutputFile, files_of
from lstn.machine.environment import Environment, describe_environment
from lstn.report.wording import counted
from lstn.research.tune.open_loop import OpenLoad, RequestTimes, times_of, typical_times
from lstn.research.tune.sent_images import sent_images
from lstn.research.tune.server_under_load import ServingSetting, load_server
from lstn.research.tune.serving_trials import kept_trials, trials_report
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.serving.models.generation import check_served, served_batch_size
from lstn.runtime.serving.server import require_server
from lstn.terminal import note
from lstn.waiting import duration, working
from lstn.zoo.named_models import shown_path

USUAL_WAIT_MS = 5.0
"""How long a request waits in `lstn serve`, where nothing else is said."""

_LEAST_REQUESTS = 100
"""Of which one is beyond the 99th percentile."""

_MOST_PER_S = 10_000.0
_KEEPS_UP = 0.95
"""Share of the rate: with fewer answers while the load lasts, more and more requests wait."""

_FINALISTS, _ROUNDS = 3, 3
_AROUND_S = 3.0
"""Of a trial, about: start, warm-up and stop."""

Loaded: TypeAlias = Callable[[ServingSetting, int], OpenLoad]
"""Puts the load on a server with a setting; its moments are drawn from a seed."""

Keep: TypeAlias = Callable[[Mapping[ServingSetting, RequestTimes]], None]
"""Writes down the trials so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRequest:
    """What to tune, and under which load.

    load:    requests a second, of one image each
    p99_ms:  how long a request may take at most, in 99 of 100 cases; None: any time
    seconds: for which a setting is measured
    """

    load: float
    batches: Sequence[int]
    waits_ms: Sequence[float]
    p99_ms: float | None
    seconds: float

    def check(self) -> None:
        """Check, before any work, that the load can be sent and measured.

        Raises:
            UsageError: it can't.
        """
        if not 0 < self.load <= _MOST_PER_S:
            raise UsageError(
                f"--load {self.load:g}: expected requests a second, more than 0 and at most {_MOST_PER_S:,.0f}",
                hint="for example: --load 100",
            )
        if round(self.load * self.seconds) < _LEAST_REQUESTS:
            raise UsageError(
                f"--load {self.load:g}: {self.load * self.seconds:.3g} requests in {self.seconds:g} s, and p99 needs "
                f"{_LEAST_REQUESTS}",
                hint=f"add --seconds {math.ceil(_LEAST_REQUESTS / self.load)}",
            )

    def keeps_up(self, times: RequestTimes) -> bool:
        """Whether a server answers everything, and as many requests a second as come."""
        return not times.unanswered and times.answered_per_s >= _KEEPS_UP * self.load

    def fails(self, times: RequestTimes) -> str:
        """Say why a setting is out that did so; an empty text: it may be used."""
        if times.unanswered:
            return f"{times.unanswered:,} unanswered"
        if not self.keeps_up(times):
            return "falls behind"
        return "too slow" if self.p99_ms is not None and times.p99_ms > self.p99_ms else ""


@dataclass(frozen=True, slots=True)
class TunedModel:
    """What is served.

    most:  images that the engine takes at once
    usual: setting that `lstn serve` has by default
    files: images that are sent
    """

    engine: Path
    most: int
    usual: ServingSetting
    files: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class ServingFinalist:
    """A setting that was tried again, in turn with others."""

    setting: ServingSetting
    rounds: tuple[RequestTimes, ...]

    @property
    def times(self) -> RequestTimes:
        """What is typical of the rounds."""
        return typical_times(self.rounds)


@dataclass(frozen=True, slots=True)
class TunedServer:
    """What a tuning of a server came to.

    key:       what the figures depend on as well as on the setting: the model, the machine and the load
    trials:    every setting, each tried once
    finalists: the server's own setting, and the best of the trials, tried again in turn
    best:      the finalist with the lowest p50 that keeps up and stays within the limit; None: there is none
    """

    key: str
    trials: Mapping[ServingSetting, RequestTimes]
    finalists: Sequence[ServingFinalist]
    best: ServingFinalist | None
    environment: Environment
    request: ServingRequest


def serving_outputs(folder: Path) -> list[OutputFile]:
    """Return what a tuning of a server writes: its figures, and its page."""
    return [OutputFile(folder / "serving.json", SERVING_TUNING), OutputFile(folder / "serving.html", PAGE)]


def opened_model(engine: Path, data: str, seed: int | None) -> TunedModel:
    """Open an engine and a data set, before anything is written.

    data, seed: whose validation images are sent, as in `open_for_model`

    Raises:
        UsageError: a model that isn't served.
        ArtifactError, DeviceError: the engine can't be opened.
        MissingExtra: what serves is not installed.
        DataError: the data set can't be read.
    """
    require_server()
    with open_engine(engine, spin=False) as opened:
        contract, most = opened.contract, opened.max_batch
        check_served(contract, engine)
        usual = ServingSetting(served_batch_size(opened, None, engine), USUAL_WAIT_MS)
    return TunedModel(engine, most, usual, sent_images(contract, data, seed=seed))


def tune_serving(model: TunedModel, figures: Path, request: ServingRequest) -> TunedServer:
    """Find the batch size and the wait with which a server answers fastest under a load.

    Trials are kept in the file `figures`, the report of a tuning: the same tuning goes on where it was stopped.

    Raises:
        UsageError: the model takes none of the batches.
        ArtifactError: `figures` is damaged.
        LstnError: a server can't be run.
    """
    settings = settings_to_try(request.batches, request.waits_ms, model.most)
    environment = describe_environment()
    key = _key(model, environment, request)

    def loaded(setting: ServingSetting, seed: int) -> OpenLoad:
        return load_server(model.engine, setting, model.files, rate=request.load, seconds=request.seconds, seed=seed)

    def keep(kept: Mapping[ServingSetting, RequestTimes]) -> None:
        write_text(figures, json.dumps(trials_report(shown_path(model.engine), key, kept)) + "\n")

    runs = len(settings) + _ROUNDS * (1 + min(_FINALISTS, len(settings)))
    note(f"{counted(len(settings), 'setting')}, {duration(runs * (request.seconds + _AROUND_S))} in all")
    trials = _tried(settings, loaded, kept_trials(figures, key), keep)
    finalists = _tried_in_turn(_best_few(model.usual, trials, request), loaded)
    good = [each for each in finalists if not request.fails(each.times)]
    best = min(good, key=lambda each: each.times.p50_ms, default=None)
    return TunedServer(key, trials, finalists, best, environment, request)


def settings_to_try(batches: Sequence[int], waits_ms: Sequence[float], most: int) -> list[ServingSetting]:
    """Return every setting that is unlike the others: an image that is a batch by itself waits for no others.

    most: images that the engine takes at once

    Raises:
        UsageError: it takes none of these batches.
    """
    if not (fitting := [batch for batch in batches if batch <= most]):
        raise UsageError(f"--batch: this model takes batches of {most} at most", hint="name smaller ones")
    return [ServingSetting(batch, wait) for batch in fitting for wait in (waits_ms if batch > 1 else (min(waits_ms),))]


def _tried(
    settings: Sequence[ServingSetting], loaded: Loaded, kept: dict[ServingSetting, RequestTimes], keep: Keep
) -> dict[ServingSetting, RequestTimes]:
    """Try each setting once, all with the same requests at the same moments, but those that were tried before."""
    with working("trying settings", len(settings)) as advance:
        for setting in settings:
            if setting not in kept:
                kept[setting] = times_of(loaded(setting, 0))
                keep(kept)
            advance(1)
    return {setting: kept[setting] for setting in settings}


def _tried_in_turn(settings: Sequence[ServingSetting], loaded: Loaded) -> list[ServingFinalist]:
    rounds: dict[ServingSetting, list[RequestTimes]] = {setting: [] for setting in settings}
    with working("trying the best again, in turn", _ROUNDS * len(settings)) as advance:
        for number in range(_ROUNDS):
            for setting in settings:
                rounds[setting].append(times_of(loaded(setting, 1 + number)))
                advance(1)
    return [ServingFinalist(setting, tuple(times)) for setting, times in rounds.items()]


def _best_few(
    usual: ServingSetting, trials: Mapping[ServingSetting, RequestTimes], request: ServingRequest
) -> list[ServingSetting]:
    """Return the server's own setting and those with the lowest p50, first of all of what may be used."""
    others = [setting for setting in trials if setting != usual]
    others.sort(key=lambda setting: (request.fails(trials[setting]) != "", trials[setting].p50_ms))
    return [usual, *others[:_FINALISTS]]


def _key(model: TunedModel, environment: Environment, request: ServingRequest) -> str:
    """Return a hash of what the figures depend on as well as on the setting."""
    digest = hashlib.sha256()
    for file in files_of(model.engine):
        if file.is_file():
            hashed(file, digest)
    for sent in model.files:
        digest.update(hashlib.sha256(sent).digest())
    load = (environment.cpu, environment.cores, request.load, request.seconds)
    digest.update(json.dumps(load).encode())
    return digest.hexdigest()
