"""Pace of a run: the time left, by its latest steps, and by whole epochs as soon as there is one."""

import statistics
import time
from collections import deque
from collections.abc import Callable

_RECENT = 16
_VALIDATION = 1 / 3
"""What an image costs in validation, as a share of a training step: forwards, and not backwards."""


class Pace:
    """Hears of steps and epochs, and says when the run will be done. Times are in seconds.

    images, val_images: of an epoch; steps: of an epoch; epochs: of the run, at most
    budget_s: what the run may take, or None: then it has so many epochs
    """

    def __init__(
        self,
        *,
        images: int,
        val_images: int,
        steps: int,
        epochs: int,
        budget_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images, self._steps, self._epochs, self._clock = images, steps, epochs, clock
        self._with_validation = 1 + _VALIDATION * val_images / images
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._whole: list[float] = []
        self._place = 0.0
        self._last = self.began = clock()
        self._budget_s = budget_s

    def step(self, epoch: int, seen: int) -> None:
        """Count a step that ends now, after which `seen` images of `epoch` have been seen."""
        now = self._clock()
        self._recent.append(now - self._last)
        self._last, self._place = now, epoch - 1 + seen / self._images

    def epoch(self, seconds: float) -> None:
        """Count an epoch that ends now, validation included."""
        self._whole.append(seconds)
        self._last = self._clock()

    @property
    def steps_taken(self) -> bool:
        """Whether anything can be said yet."""
        return bool(self._recent)

    @property
    def step_s(self) -> float:
        """A step's time. Among the first ones are some that prepare kernels, and some with fewer threads."""
        recent = sorted(self._recent)
        return statistics.mean(recent) if len(recent) == _RECENT else recent[len(recent) // 4]

    @property
    def epoch_s(self) -> float:
        """An epoch's time, validation included."""
        return statistics.mean(self._whole[-3:]) if self._whole else self.step_s * self._steps * self._with_validation

    @property
    def left_s(self) -> float:
        """What is left if no epoch is left out."""
        if self._budget_s is not None:
            return max(0.0, self._budget_s - (self._clock() - self.began))
        return max(0.0, self._epochs - self._place) * self.epoch_s
