"""A measured figure and how sure it is."""

from dataclasses import dataclass


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
