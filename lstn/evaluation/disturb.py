"""Test images turned, scaled and shifted by known amounts: bilinear, black outside, through `lstn.warps.warp`."""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from lstn.images import Pixels
from lstn.imaging.framing import BLACK
from lstn.warps.warp import Theta, warp

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


class Kind(str, Enum):
    """A way to disturb an image."""

    ROTATE = "rotate"
    SCALE = "scale"
    SHIFT = "shift"

    @property
    def leaves(self) -> float:
        """Return the amount that leaves an image as it is."""
        return 1.0 if self is Kind.SCALE else 0.0


UNITS = {
    Kind.ROTATE: "degrees counter-clockwise",
    Kind.SCALE: "times as large",
    Kind.SHIFT: "share of the side",
}


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One transformation of the content around the image's middle.

    amount: ROTATE: degrees, counter-clockwise; SCALE: how many times as large; SHIFT: share of width and height, in
            a direction that differs from image to image
    """

    kind: Kind
    amount: float

    def theta(self, image_hw: tuple[int, int], index: int) -> Theta:
        """Return the matrix that samples image number `index` so, (2, 3) float32, as `lstn.warps.warp` takes it.

        Directions of SHIFT advance by the golden angle, so that any run of images is shifted to all sides alike.
        """
        height, width = image_hw
        if self.kind is Kind.SCALE:
            return np.array([[1 / self.amount, 0, 0], [0, 1 / self.amount, 0]], np.float32)
        if self.kind is Kind.SHIFT:
            direction = index * _GOLDEN_ANGLE
            shift = -2 * self.amount * np.array([math.cos(direction), math.sin(direction)])
            return np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        # On -1..1 a pixel is 2/W wide and 2/H high: without the ratio an oblong image would be sheared.
        cos, sin = math.cos(math.radians(self.amount)), math.sin(math.radians(self.amount))
        return np.array([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]], np.float32)

    def apply(self, pixels: Pixels, index: int) -> Pixels:
        """(H, W, 3) uint8 -> (H, W, 3) uint8; an amount that leaves images as they are returns `pixels` itself."""
        if self.amount == self.kind.leaves:
            return pixels
        return warp(pixels, self.theta((pixels.shape[0], pixels.shape[1]), index), BLACK)
