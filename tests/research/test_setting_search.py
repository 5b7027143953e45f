"""The search against brute force over tables of times, and the Pareto front against its definition."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.formats.engine_kind import EngineKind
from lstn.machine.environment import describe_environment
from lstn.research.tune.candidates import Candidate, ModelVersion, QualityLimits
from lstn.research.tune.model_versions import VersionsWanted
from lstn.research.tune.setting_search import CallTime, SearchPlan, SettingSpace, TunedSetting, search
from lstn.research.tune.tuned import Tuned, TuningRequest

SPEED = (100.0, 150.0, 160.0, 240.0)
"""Images/s of four files, of large batches and with one thread."""

Timed = Callable[[TunedSetting], CallTime]


def candidate(number: int, top1: float = 1.0) -> Candidate:
    version = ModelVersion(EngineKind.ONNX, None, (32, 32), Path(f"{number}.onnx"))
    return Candidate(version, str(number), top1, 0.0, None)


SPACE = SettingSpace([candidate(number) for number in range(4)], (1, 2, 4, 8, 16, 32), (1, 2))


def clocked(setting: TunedSetting) -> CallTime:
    """Larger batches, and a second thread, bring less and less."""
    speed = SPEED[int(setting.candidate.sha256)] * setting.batch / (setting.batch + 1)
    speed *= 1.6 if setting.threads == 2 else 1.0
    ms = 1000 * setting.batch / speed
    return CallTime(ms, 1.1 * ms, speed)


def everything() -> list[tuple[TunedSetting, CallTime]]:
    return [(setting, clocked(setting)) for setting in map(SPACE.setting, SPACE.places())]


def fastest(trials: list[tuple[TunedSetting, CallTime]], limit: float | None) -> float:
    return max(timed.images_per_s for _, timed in trials if limit is None or timed.p99_ms <= limit)


def unheard(count: int) -> None:
    """Nobody hears how far a search is."""


@pytest.mark.parametrize("limit", [None, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_the_trials_finds_nine_tenths_of_the_best(limit: float | None, seed: int) -> None:
    found = search(SPACE, clocked, SearchPlan(10, limit, seed), tell=unheard)
    assert len(found) == 10
    assert fastest(found, limit) >= 0.9 * fastest(everything(), limit)


def test_every_setting_is_timed_once_and_no_other() -> None:
    timed: list[TunedSetting] = []

    def time(setting: TunedSetting) -> CallTime:
        timed.append(setting)
        return clocked(setting)

    small = SettingSpace(SPACE.candidates[:2], (1, 8), (1, 2))
    found = search(small, time, SearchPlan(50, None, 0), tell=unheard)
    wanted = {(one, batch, threads) for one, batch, threads in itertools.product("01", (1, 8), (1, 2))}
    assert {(each.candidate.sha256, each.batch, each.threads) for each in timed} == wanted
    assert len(timed) == len(found) == len(small) == 8
    assert dict(found) == {setting: clocked(setting) for setting in timed}


def test_a_search_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    timed: list[TunedSetting] = []

    def time(setting: TunedSetting) -> CallTime:
        timed.append(setting)
        if len(timed) == 5:
            raise KeyboardInterrupt
        return clocked(setting)

    plan = SearchPlan(9, 30.0, 0, tmp_path / "trials.log", "this machine")
    with pytest.raises(KeyboardInterrupt):
        search(SPACE, time, plan, tell=unheard)
    heard: list[int] = []
    found = search(SPACE, time, plan, tell=heard.append)
    assert heard == [4, 1, 1, 1, 1, 1]
    assert len(timed) == 10  # the fifth twice: it was never finished
    assert [timed for _, timed in found] == [clocked(setting) for setting, _ in found]
    other = SearchPlan(9, 30.0, 0, tmp_path / "trials.log", "another machine")
    heard.clear()
    search(SPACE, clocked, other, tell=heard.append)
    assert heard[0] == 0


FIGURES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))


@given(st.lists(FIGURES, min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats(figures: list[tuple[int, int, int]]) -> None:
    trials = [
        (TunedSetting(candidate(number, top1 / 10), 1, 1), CallTime(ms, ms, speed))
        for number, (speed, ms, top1) in enumerate(figures)
    ]
    request = TuningRequest(
        versions=VersionsWanted(data="digits", seed=0, engines=(), precisions=()), limits=QualityLimits(1.0),
        batches=(), threads=(), p99_ms=None, trials=None, seconds=1.0, seed=0,
    )  # fmt: skip
    front = Tuned((), 1, trials, (), None, HERE, request).front
    beaten = set()
    for one, other in itertools.permutations(range(len(figures)), 2):
        (speed, ms, top1), (speed_, ms_, top1_) = figures[one], figures[other]
        if speed_ >= speed and ms_ <= ms and top1_ >= top1 and figures[one] != figures[other]:
            beaten.add(one)
    assert {int(setting.candidate.sha256) for setting, _ in front} == set(range(len(figures))) - beaten
    assert [timed.images_per_s for _, timed in front] == sorted((t.images_per_s for _, t in front), reverse=True)


HERE = describe_environment()


@pytest.mark.parametrize(
    ("drop", "drift", "beyond"),
    [
        (0.5, 0.2, ""),
        (0.51, None, "loses 0.51 points, more than 0.5"),
        (-3.0, 0.21, "drifts by 0.210 px, more than 0.2"),
        (1.0, 9.0, "loses 1.00 points, more than 0.5; drifts by 9.000 px, more than 0.2"),
        (0.0, None, ""),
    ],
)
def test_limits_say_what_is_beyond_them(drop: float, drift: float | None, beyond: str) -> None:
    assert QualityLimits(0.5, 0.2).beyond(drop, drift) == beyond
