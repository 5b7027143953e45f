"""Timing of settings: one by one in the search, and the best of them in turn at its end."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from lstn.interval import Interval
from lstn.research.tune.setting_search import CallTime, TunedSetting
from lstn.runtime.bench.latency import Milliseconds, measure_latency, ratio, summarize
from lstn.runtime.engines.opening import open_engine


@dataclass(frozen=True, slots=True)
class Finalist:
    """A setting that was timed in turn with others. ratio: of its images/s to the first one's; None for the first."""

    setting: TunedSetting
    timed: CallTime
    ratio: Interval | None


def time_alone(setting: TunedSetting, *, seconds: float, seed: int) -> CallTime:
    """Time one setting by itself, for about so many seconds.

    Raises:
        LstnError: its engine can't be opened, or fails.
    """
    with ExitStack() as stack:
        samples = measure_latency([_call(stack, setting, seed, spin=True)], seconds=seconds, seed=seed)
    return _call_time(setting, samples[:, 0])


def time_in_turn(settings: Sequence[TunedSetting], *, seconds: float, seed: int) -> list[Finalist]:
    """Time settings in turn, for about so many seconds each, so that what else the machine does falls on all alike.

    Raises:
        LstnError: an engine can't be opened, or fails.
    """
    with ExitStack() as stack:
        calls = [_call(stack, each, seed, spin=False) for each in settings]
        samples = measure_latency(calls, seconds=seconds * len(calls), seed=seed)
    of_images = samples / np.array([each.batch for each in settings])
    found = []
    for index, setting in enumerate(settings):
        faster = ratio(of_images[:, 0], of_images[:, index], seed=seed) if index else None
        found.append(Finalist(setting, _call_time(setting, samples[:, index]), faster))
    return found


def _call(stack: ExitStack, setting: TunedSetting, seed: int, *, spin: bool) -> Callable[[], object]:
    engine = stack.enter_context(open_engine(setting.candidate.version.path, threads=setting.threads, spin=spin))
    shape = (setting.batch, *engine.contract.image_hw, 3)
    return partial(engine.infer, np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def _call_time(setting: TunedSetting, samples: Milliseconds) -> CallTime:
    latency = summarize(samples)
    return CallTime(latency.p50_ms, latency.p99_ms, 1000 * setting.batch / latency.p50_ms)
