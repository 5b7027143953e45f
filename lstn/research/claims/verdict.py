"""The rule that says whether a claim holds on a machine, so that nobody's wishes do.

A claim says that a ratio of times lies below a bound. It

    holds                 if the whole 95 % interval lies below the bound by more than the dead zone,
    does not hold         if the whole interval lies above it by more than the dead zone,
    is below the noise    otherwise: the machine can't tell, or the difference is too small to matter.

The dead zone is 2 %: what a rebuilt engine or another page of memory moves a latency by, whatever the interval says.
For a verdict to flip between *holds* and *does not hold*, an interval would have to jump over the dead zone on both
sides of the bound.
"""

from enum import Enum

from lstn.interval import Interval

DEAD_ZONE = 0.02
"""Share of the bound on either side that counts as noise."""


class Verdict(str, Enum):
    """What a claim comes to."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NOISE = "below the noise here"


def judge_below(ratio: Interval, bound: float) -> Verdict:
    """Judge the claim that a ratio is less than `bound`."""
    return _judge(ratio, bound * (1 - DEAD_ZONE), bound * (1 + DEAD_ZONE))


def judge_no_more(ratio: Interval, bound: float) -> Verdict:
    """Judge the claim that a ratio is no more than `bound`, which it may equal.

    Equal is within one dead zone above the bound, and more is beyond two, with the noise between them.
    """
    return _judge(ratio, bound * (1 + DEAD_ZONE), bound * (1 + 2 * DEAD_ZONE))


def judge_exact(holds: bool) -> Verdict:
    """Judge what is counted and not measured."""
    return Verdict.HOLDS if holds else Verdict.FAILS


def _judge(ratio: Interval, below: float, above: float) -> Verdict:
    if not ratio.low <= ratio.high:  # NaN compares to nothing
        return Verdict.NOISE
    if ratio.high < below:
        return Verdict.HOLDS
    return Verdict.FAILS if ratio.low > above else Verdict.NOISE
