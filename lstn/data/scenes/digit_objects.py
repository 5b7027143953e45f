"""The embedded digits as objects of scenes: masks, painted in a colour that contrasts with what lies below."""

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.data.digits import RASTER, digit_rasters
from lstn.data.scenes.painting import Stamp
from lstn.data.splits import SplitName

_MARGIN = 2
"""Empty cells around a digit's raster, into which its soft edges and its halo reach."""

_ENLARGED = 4
"""Pixels of a stamp to one of the raster, each way."""

_HALO = 0.4
"""How much what lies around a digit is shaded."""

_Masks: TypeAlias = npt.NDArray[np.uint8]


class DigitObjects:
    """The digits of one split of `--data digits`. The box of a digit is the square that its file has."""

    def __init__(self, split: SplitName) -> None:
        self._split: SplitName = split

    def __len__(self) -> int:
        return len(_masks(self._split)[2])

    def label(self, number: int) -> int:
        """Return which digit it is."""
        return int(_masks(self._split)[2][number])

    def shape(self, number: int) -> tuple[float, float]:
        """Return width and height: a square."""
        return 1.0, 1.0

    def stamp(self, number: int) -> Stamp:
        """Return the digit with smooth edges."""
        digits, halos, _ = _masks(self._split)
        raster = Image.fromarray(digits[number])
        side = raster.width * _ENLARGED
        smooth = raster.resize((side, side), Image.Resampling.BICUBIC)
        return Stamp(smooth, reach=raster.width / RASTER, soft=_ENLARGED, halo=Image.fromarray(halos[number]))

    @property
    def fingerprint(self) -> str:
        """The split alone decides."""
        return f"digits of MNIST {self._split} {len(self)}"


@cache
def _masks(split: SplitName) -> tuple[_Masks, _Masks, _Masks]:
    """Digits (N, 24, 24) and their halos, both 0 to 255, and labels (N,).

    Both are smoothed by the weights 1, 2, 1, because 16 levels leave edges that waver.
    """
    rasters, labels = digit_rasters(split)
    digits = np.pad(rasters * np.uint16(17), ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    halos = digits
    for axis in (1, 2):
        halos = np.maximum(halos, np.maximum(np.roll(halos, 1, axis), np.roll(halos, -1, axis)))
        digits = (np.roll(digits, 1, axis) + 2 * digits + np.roll(digits, -1, axis)) // 4
    return digits.astype(np.uint8), (halos * _HALO).astype(np.uint8), labels
