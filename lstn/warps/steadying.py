"""Steadying of a warp over time: the one-Euro filter of Casiez, Roussel and Vogel (CHI 2012).

A localizer sees each frame of a video by itself, so what it chooses trembles with the noise of the frames. A mean over
time would take the tremble out, and lag behind whatever moves. This filter averages longer the slower the warp moves.
"""

import math

import numpy as np
import numpy.typing as npt

from lstn.warps.warp import Theta, fixed_points, sampled

REST_HZ = 1.0
"""Cutoff frequency of a warp that rests: what changes faster is taken for tremble."""

HZ_PER_SPEED = 4.0
"""By how much the cutoff rises with the speed of the warp's corners, in halves of the picture's side per second."""

_SPEED_HZ = 1.0
"""Cutoff of the speed itself, as the paper has it."""

_Array = npt.NDArray[np.float64]


class SteadyWarp:
    """The warps of one video, frame after frame.

    One cutoff holds for all numbers of a theta, so that what is averaged is the warp: its corners, or control points,
    are averaged by the same weights.
    """

    def __init__(self) -> None:
        self._seconds = -math.inf
        self._theta: _Array | None = None
        self._points: _Array | None = None
        self._speed: _Array | None = None

    def steadied(self, theta: Theta, seconds: float) -> Theta:
        """Return the steadied theta (…) float32 of a frame, at so many seconds; the first frame's is its own.

        A frame that is not later than the one before, or whose theta is not finite, is the first of a new video.
        """
        exact = theta.astype(np.float64)
        points = np.asarray(sampled(theta, fixed_points(theta.shape)))
        passed = seconds - self._seconds
        if self._theta is None or self._points is None or self._speed is None or not 0 < passed < math.inf:
            steady, speed = exact, np.zeros_like(points)
        else:
            moved = (points - self._points) / passed
            speed = self._speed + _weight(_SPEED_HZ, passed) * (moved - self._speed)
            fastest = float(np.hypot(speed[..., 0], speed[..., 1]).max())
            steady = self._theta + _weight(REST_HZ + HZ_PER_SPEED * fastest, passed) * (exact - self._theta)
        finite = bool(np.isfinite(exact).all() and np.isfinite(points).all())
        self._theta, self._points, self._speed = (steady, points, speed) if finite else (None, None, None)
        self._seconds = seconds
        return steady.astype(np.float32)


def _weight(cutoff_hz: float, passed_s: float) -> float:
    """Return the share of a new value in the mean of a low-pass filter of first order."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * passed_s))
