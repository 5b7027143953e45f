"""Races on clocks and timings that are made up, so that the truth is known."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from lstn.research.claims.verdict import Verdict, judge_below
from lstn.runtime.bench.race import Entrant, Race, TimedCall, median_interval, run_race

OURS, OTHER = ("lstn", "x"), ("stn", "x")


def timings(ratio: float, seed: int, *, rounds: int = 40, sittings: int = 3) -> Race:
    """Two engines on a shared machine: slow spells that both meet, lone spikes, and a level of its own each opening."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(sittings):
        spell = np.zeros(rounds)
        for index in range(1, rounds):
            spell[index] = 0.9 * spell[index - 1] + random.normal(0, 0.05)
        level = random.normal(1, 0.005, size=2)
        noise = random.normal(1, 0.02, size=(rounds, 2)) + (random.random((rounds, 2)) < 0.05) * random.exponential(1.0)
        found.append(20 * np.exp(spell)[:, None] * level * noise * np.array([ratio, 1.0]))
    return Race((OURS, OTHER), tuple(found), seed)


def verdicts(ratio: float) -> list[Verdict]:
    return [judge_below(timings(ratio, seed).ratio(OURS, OTHER), 1.0) for seed in range(20)]


@pytest.mark.parametrize(("ratio", "verdict"), [(0.68, Verdict.HOLDS), (0.94, Verdict.HOLDS), (1.06, Verdict.FAILS)])
def test_what_is_plain_is_said_in_every_run(ratio: float, verdict: Verdict) -> None:
    assert set(verdicts(ratio)) == {verdict}


@pytest.mark.parametrize("ratio", [0.99, 1.0, 1.01])
def test_what_is_equal_is_never_told_apart(ratio: float) -> None:
    assert set(verdicts(ratio)) == {Verdict.NOISE}


@pytest.mark.parametrize("ratio", [0.97, 0.98, 1.02, 1.03])
def test_at_the_edge_of_the_dead_zone_a_verdict_never_flips(ratio: float) -> None:
    assert not {Verdict.HOLDS, Verdict.FAILS} <= set(verdicts(ratio))


def test_the_interval_covers_the_truth() -> None:
    covered = [race.low <= 0.9 <= race.high for race in (timings(0.9, seed).ratio(OURS, OTHER) for seed in range(40))]
    assert sum(covered) >= 34  # 95 % of 40 are 38; three sittings are few


def test_sittings_that_disagree_widen_the_interval() -> None:
    rounds = np.random.default_rng(0).normal(1, 0.01, size=60)
    agreeing = median_interval([rounds, rounds, rounds], seed=0)
    disagreeing = median_interval([rounds - 0.2, rounds, rounds + 0.2], seed=0)
    assert agreeing.high - agreeing.low < 0.02
    assert disagreeing.low < 0.85
    assert disagreeing.high > 1.15
    assert disagreeing.value == pytest.approx(1, abs=0.02)


def test_ratio_difference_and_sum_are_taken_within_rounds() -> None:
    slow = np.array([1.0, 1.0, 10.0, 10.0, 100.0])  # the machine's mood, which cancels
    race = Race((OURS, OTHER, ("grid", "x")), (np.stack([2 * slow, 4 * slow, slow], axis=1),) * 2, 0)
    ratio = race.ratio(OURS, OTHER)
    assert (ratio.value, ratio.low, ratio.high) == (0.5, 0.5, 0.5)
    assert race.sum_ms({OURS: 1, OTHER: -1}).value == -20
    assert race.sum_ms({OTHER: 1, OURS: -1, ("grid", "x"): -2}).value == 0
    assert race.time_ms(OURS).value == 20
    assert OURS in race
    assert ("none", "x") not in race


def test_every_sitting_opens_everything_anew_and_runs_it_in_turn() -> None:
    log: list[str] = []

    @contextmanager
    def opened(name: str) -> Iterator[TimedCall]:
        log.append(f"open {name}")
        yield partial(log.append, name)
        log.append(f"close {name}")

    entrants = [Entrant(name, "x", partial(opened, name)) for name in "ab"]
    race = run_race(entrants, seconds=0.0, seed=0, sittings=2)
    assert race.names == (("a", "x"), ("b", "x"))
    assert [samples.shape for samples in race.sittings] == [(5, 2), (5, 2)]
    assert log[:2] == ["open a", "open b"]
    assert log.count("open a") == log.count("close b") == 2
    timed = log[2 + 6 : 2 + 6 + 10]  # after three runs each to warm up
    assert all(sorted(timed[start : start + 2]) == ["a", "b"] for start in range(0, 10, 2))


def test_what_was_opened_is_closed_when_a_run_fails() -> None:
    closed = []

    @contextmanager
    def opened(name: str) -> Iterator[TimedCall]:
        try:
            yield {"good": lambda: None, "bad": lambda: 1 / 0}[name]
        finally:
            closed.append(name)

    with pytest.raises(ZeroDivisionError):
        run_race([Entrant(name, "x", partial(opened, name)) for name in ("good", "bad")], seconds=0, seed=0)
    assert closed == ["bad", "good"]
