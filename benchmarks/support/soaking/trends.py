"""Which way a gauge goes: a slope, its interval, and whether that is flat."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_DRAWS = 2000
_SHARE = 0.95
_LEAST = 8
"""Values without which there is no interval."""


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
    """Fit a line by least squares, and draw its residuals again in blocks.

    Neighbours in time are alike, so that drawn one by one they would give an interval that is too narrow: the moving
    blocks bootstrap of Künsch (1989), https://doi.org/10.1214/aos/1176347265. A block has the square root of the number
    of values.

    seconds, values: (n,) each, n at least 2; values that are not a number are left out
    """
    hours, level = np.asarray(seconds, np.float64) / 3600, np.asarray(values, np.float64)
    hours, level = hours[np.isfinite(level)], level[np.isfinite(level)]
    away = hours - hours.mean()
    weights = away / (away**2).sum()
    slope = float(weights @ level)
    if len(level) < _LEAST:
        return Trend(slope, None)
    residuals = level - level.mean() - slope * away
    size = round(len(level) ** 0.5)
    dice = np.random.default_rng(0)
    starts = dice.integers(0, len(level) - size + 1, (_DRAWS, -(-len(level) // size)))
    drawn = residuals[(starts[..., None] + np.arange(size)).reshape(_DRAWS, -1)[:, : len(level)]]
    low, high = np.quantile(slope + drawn @ weights, [(1 - _SHARE) / 2, (1 + _SHARE) / 2])
    return Trend(slope, (float(low), float(high)))
