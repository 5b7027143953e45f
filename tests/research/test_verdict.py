import math

import pytest

from lstn.interval import Interval
from lstn.research.claims.verdict import DEAD_ZONE, Verdict, judge_below, judge_exact, judge_no_more

HOLDS, FAILS, NOISE = Verdict.HOLDS, Verdict.FAILS, Verdict.NOISE


def test_the_words_are_the_documented_ones() -> None:
    assert [verdict.value for verdict in Verdict] == ["holds", "does not hold", "below the noise here"]
    assert DEAD_ZONE == 0.02


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.60, 0.70, HOLDS),
        (0.90, 0.97, HOLDS),
        (0.90, 0.99, NOISE),  # all below the bound, but not by more than the dead zone
        (0.995, 1.005, NOISE),
        (0.90, 1.10, NOISE),
        (1.01, 1.10, NOISE),
        (1.03, 1.10, FAILS),
        (math.nan, math.nan, NOISE),
        (0.5, math.inf, NOISE),
    ],
)
def test_cheaper_means_all_of_the_interval_beyond_the_dead_zone(low: float, high: float, verdict: Verdict) -> None:
    assert judge_below(Interval((low + high) / 2, low, high), 1.0) is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.30, 0.32, HOLDS), (0.32, 0.335, NOISE), (0.345, 0.36, FAILS), (0.6, 0.7, FAILS)]
)
def test_the_dead_zone_is_a_share_of_the_bound(low: float, high: float, verdict: Verdict) -> None:
    assert judge_below(Interval(low, low, high), 1 / 3) is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.00, 1.02, HOLDS), (1.01, 1.04, NOISE), (1.035, 1.05, NOISE), (1.05, 1.09, NOISE), (1.06, 1.09, FAILS)],
)
def test_no_more_than_may_be_equal(low: float, high: float, verdict: Verdict) -> None:
    assert judge_no_more(Interval(low, low, high), 1.014) is verdict


def test_what_is_counted_has_no_noise() -> None:
    assert judge_exact(True) is HOLDS
    assert judge_exact(False) is FAILS


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.6789, 0.6712, 0.6853), "0.679 (0.671 to 0.685)"),
        (Interval(2.71, 2.68, 2.88), "2.71 (2.68 to 2.88)"),
        (Interval(21.34, 20.2, 24.7), "21.3 (20.2 to 24.7)"),
        (Interval(133.4, 120, 150), "133 (120 to 150)"),
        (Interval(1, 1, 1), "1.000 (1.000 to 1.000)"),
    ],
)
def test_a_figure_has_the_digits_that_its_interval_supports(interval: Interval, text: str) -> None:
    assert str(interval) == text


def test_an_end_on_the_edge_of_the_dead_zone_is_noise() -> None:
    below, above = 1.0 * (1 - DEAD_ZONE), 1.0 * (1 + DEAD_ZONE)
    assert judge_below(Interval(0.5, 0.4, below), 1.0) is NOISE
    assert judge_below(Interval(0.5, 0.4, math.nextafter(below, 0)), 1.0) is HOLDS
    assert judge_below(Interval(1.5, above, 2.0), 1.0) is NOISE
    assert judge_below(Interval(1.5, math.nextafter(above, 2), 2.0), 1.0) is FAILS


def test_an_interval_without_a_width_is_judged_as_any_other() -> None:
    assert judge_below(Interval(0.5, 0.5, 0.5), 1.0) is HOLDS
    assert judge_below(Interval(1.5, 1.5, 1.5), 1.0) is FAILS
