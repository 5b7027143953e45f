"""Which way a gauge goes: a slope, its interval, and whether that is flat."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LEAST = 8
"""Values without which there is no interval."""

_QUANTILE = 2.0
"""Of Student's distribution, for 95 %, with about 60 values."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through the values of a gauge.

    per_hour: its slope
    interval: where the slope is with 95 %, None with too few values
    """

    per_hour: float
    interval: tuple[float, float] | None

    def verdict(self, bound: float) -> str:
        """Return `flat` if the slope is below `bound` an hour, `grows` if it is above 0, else `too noisy to say`."""
        if self.interval is None:
            return "too short to say"
        low, high = self.interval
        if high < bound:
            return "flat"
        return "grows" if low > 0 else "too noisy to say"


def trend_of(seconds: npt.ArrayLike, values: npt.ArrayLike) -> Trend:
    """Fit a line by least squares.

    Neighbours in time are alike, so that the usual interval would be too narrow. The residuals are taken for an
    autoregressive process of order 1, whose correlation rho makes the variance of the slope (1 + rho) / (1 - rho) times
    as large (Bayley and Hammersley 1946, for a mean). rho is estimated with Kendall's correction of its bias (1954).

    seconds, values: (n,) each, n at least 2; values that are not a number are left out
    """
    hours, level = np.asarray(seconds, np.float64) / 3600, np.asarray(values, np.float64)
    hours, level = hours[np.isfinite(level)], level[np.isfinite(level)]
    away, count = hours - hours.mean(), len(level)
    slope = float(away @ level / (away @ away))
    if count < _LEAST:
        return Trend(slope, None)
    residuals = level - level.mean() - slope * away
    square = residuals @ residuals
    if not square:
        return Trend(slope, (slope, slope))
    rho = residuals[1:] @ residuals[:-1] / square
    rho = np.clip(rho + (1 + 4 * rho) / count, 0, 0.99)
    error = np.sqrt(square / (count - 2) / (away @ away) * (1 + rho) / (1 - rho))
    return Trend(slope, (float(slope - _QUANTILE * error), float(slope + _QUANTILE * error)))
