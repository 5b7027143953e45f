"""Regression check of `lstn bench`: has anything become slower than in a saved run, beyond doubt and tolerance?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from lstn.errors import ArtifactError, UsageError
from lstn.interval import Interval
from lstn.runtime.bench.latency import RESAMPLES, Milliseconds, draw_stretches
from lstn.runtime.bench.timed_engines import VERSION, BenchResult, BenchSetup
from lstn.untrusted.checked_json import Count, Positive, checked, parsed, read_bytes

_MAX_BYTES = 1 << 30
"""A kept run holds every sample: 20 bytes each."""


@dataclass(frozen=True, slots=True)
class Change:
    """One engine at one batch size: how many times as long its median latency is as it was, and the 95 % interval."""

    path: Path
    batch: int
    ratio: Interval

    def slower(self, tolerance: float) -> bool:
        """Whether all of the interval lies beyond the tolerance, a share such as 0.05."""
        return self.ratio.low > 1 + tolerance


@dataclass(frozen=True, slots=True)
class _Versioned:
    version: int


@dataclass(frozen=True, slots=True)
class _Timed:
    path: Annotated[str, Meta(min_length=1)]
    batch: Count
    samples_ms: Annotated[list[Positive], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class _BenchRun:
    """What of a kept run is read."""

    setup: dict[str, Any]
    results: list[_Timed]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A run that `lstn bench --json` kept: samples in ms by file name and batch size."""

    path: Path
    samples: Mapping[tuple[str, int], Milliseconds]


def read_kept(path: Path, engines: Sequence[Path], setup: BenchSetup) -> Kept:
    """Read a run that was kept, and check, before anything is timed, that it can be compared with what will be.

    Raises:
        ArtifactError: not such a file.
        UsageError: it was timed on another device or with other threads, or lacks a file or a batch size.
    """
    before = _read(path)
    for what, now in (("device", setup.device.value), ("threads", setup.threads)):
        if (then := before.setup.get(what)) != now:
            raise UsageError(
                f"{path} was timed with {what} {then}, this run with {now}", hint="repeat one of them like the other"
            )
    samples = {
        (Path(each.path).name, each.batch): np.array(each.samples_ms, dtype=np.float64) for each in before.results
    }
    for name in ((engine.name, batch) for engine in engines for batch in setup.batches):
        if name not in samples:
            held = ", ".join(f"{file} at batch {batch}" for file, batch in samples)
            raise UsageError(f"{path} has no {name[0]} at batch {name[1]}", hint=f"it has {held}")
    return Kept(path, samples)


def compare_with(kept: Kept, results: Sequence[BenchResult], setup: BenchSetup) -> list[Change]:
    """Compare every result with the one of the same file name and batch size in a run that was kept.

    The two runs shared no rounds, so each is resampled by itself, in stretches.
    """
    return [
        Change(
            result.path,
            result.batch,
            _ratio(result.samples, kept.samples[result.path.name, result.batch], setup.seed),
        )
        for result in results
    ]


def _read(kept: Path) -> _BenchRun:
    hint = "keep one with: lstn bench --json"
    if not kept.is_file():
        raise UsageError(f"{kept}: no such file", hint=hint)
    data = read_bytes(kept, most=_MAX_BYTES, what="a run of lstn bench", hint=hint)
    try:
        found = parsed(data)
        if (version := checked(found, _Versioned).version) != VERSION:
            raise ArtifactError(f"{kept}: version {version}, this lstn reads version {VERSION}")
        return checked(found, _BenchRun)
    except ValueError as error:
        raise ArtifactError(f"{kept}: not a run of lstn bench, or damaged ({error!s:.300})", hint=hint) from error


def _ratio(now: Milliseconds, then: Milliseconds, seed: int) -> Interval:
    random = np.random.default_rng(seed)
    medians = [np.zeros(RESAMPLES), np.zeros(RESAMPLES)]
    for found, samples in zip(medians, (now, then), strict=True):
        for draw in range(RESAMPLES):
            found[draw] = np.median(samples[draw_stretches(len(samples), 1, random)[0]])
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    return Interval(float(np.median(now) / np.median(then)), float(low), float(high))
