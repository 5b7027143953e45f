"""A measured figure and how sure it is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % interval, in whatever unit its name says."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the three in as many decimals as give the interval's width two digits, three at most."""
        digits = next((count for count in range(3) if self.high - self.low >= 10.0 ** (1 - count)), 3)
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of two or more values and its 95 % interval, by Student's t: few seeds make a wide one."""
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = _student_t(len(values) - 1) * error
    return Interval(mean, mean - reach, mean + reach)


def ratio_interval(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> Interval:
    """Return the ratio of two sums over images, and its 95 % interval: what an image has of both belongs together.

    By the ratio's linear approximation (Cochran 1977, section 6.4), from none on; too narrow where `above` is 0 for
    nearly all.
    """
    ratio = float(above.sum() / below.sum())
    reach = 1.959964 * math.sqrt(float(np.square(above - ratio * below).sum())) / float(below.sum())
    return Interval(ratio, max(0.0, ratio - reach), ratio + reach)


_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""Student's t at 97.5 %, for 1 to 10 degrees of freedom."""


def _student_t(freedom: int) -> float:
    """Return Student's t at 97.5 %; from 11 degrees on by an expansion around the normal quantile, exact to 1e-3.

    Abramowitz & Stegun 1964, 26.7.5.
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = 1.959964
    third, fifth = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    seventh = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + third / freedom + fifth / freedom**2 + seventh / freedom**3
