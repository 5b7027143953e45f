"""Place, size and angle of an object in a scene, drawn at random."""

import math
from collections.abc import Sequence

import numpy as np

from lstn.data.poses import Pose, pose_from_box
from lstn.warps.quadrilaterals import Rectangle

SIZE = (0.18, 0.5)
"""The longer side of an object, as a share of the shorter side of the scene: at least, at most."""

TURN_DEG = 45.0
"""Largest turn either way. Two objects are then at most 90 degrees apart, so that no 6 looks like a 9, nor the sign
"keep right", whose arrow is the one of "ahead only" turned by 135 degrees, like another one."""

_TRIES = 50

_APART_PX = 0.01
"""How far the boxes around objects are apart at least, so that they still are when poses are rounded to float32."""


def place(
    shape: tuple[float, float], image_hw: tuple[int, int], taken: Sequence[Rectangle], rng: np.random.Generator
) -> Pose | None:
    """Return the pose of an object that lies wholly in the picture; None where no room was found next to others.

    shape: width and height of the object, in any unit
    taken: where other objects are
    """
    height, width = image_hw
    for _ in range(_TRIES):
        grown, turned, across, down = rng.random(4).tolist()
        scale = (SIZE[0] + grown * (SIZE[1] - SIZE[0])) * min(image_hw) / max(shape)
        degrees = (2 * turned - 1) * TURN_DEG
        wide, high = shape[0] * scale, shape[1] * scale
        cos, sin = math.cos(math.radians(degrees)), abs(math.sin(math.radians(degrees)))
        reach_x, reach_y = (wide * cos + high * sin) / 2, (wide * sin + high * cos) / 2
        x, y = reach_x + across * (width - 2 * reach_x), reach_y + down * (height - 2 * reach_y)
        reach_x, reach_y = reach_x + _APART_PX, reach_y + _APART_PX
        if not _hides((x - reach_x, y - reach_y, x + reach_x, y + reach_y), taken):
            return pose_from_box((x, y), (wide, high), degrees, image_hw)
    return None


def scatter(side: float, image_hw: tuple[int, int], rng: np.random.Generator) -> Pose:
    """Return the pose of a square fragment of `side` pixels: anywhere, turned by any angle."""
    height, width = image_hw
    x, y = (float(place) for place in rng.random(2) * (width, height))
    return pose_from_box((x, y), (side, side), rng.uniform(-180, 180), image_hw)


def _hides(box: Rectangle, taken: Sequence[Rectangle]) -> bool:
    left, top, right, bottom = box
    return any(left < each[2] and each[0] < right and top < each[3] and each[1] < bottom for each in taken)
