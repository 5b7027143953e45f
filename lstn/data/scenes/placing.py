"""Place, size and angle of an object in a scene, drawn at random."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from lstn.data.poses import Pose, pose_from_box
from lstn.warps.quadrilaterals import Rectangle, upright_box

SIZE = (0.18, 0.5)
"""The longer side of an object, as a share of the shorter side of the scene: at least, at most."""

TURN_DEG = 45.0
"""Largest turn either way. Two objects are then at most 90 degrees apart, so that no 6 looks like a 9, nor the sign
"keep right", whose arrow is the one of "ahead only" turned by 135 degrees, like another one."""

_TRIES = 50

_APART_PX = 0.01
"""How far the boxes around objects are apart at least, so that they still are when poses are rounded to float32."""


ROW_SIZE = (0.14, 0.34)
"""The height of objects in a row, as a share of the longer side of the picture: at least, at most, where they fit."""

_ROW_GAP = (-0.06, 0.35)
"""Between two boxes of a row, in heights of the boxes, which objects don't fill."""

_ROW_TURN_DEG, _OWN_TURN_DEG = 15.0, 8.0
"""Largest turn either way of a row, and of each of its objects beside that."""

_ROW_WAVE = 0.08
"""How far above or below the row's middle an object may be, in heights of its box."""

_ROW_ROOM = 0.96
"""The share of the picture's sides that a row may take."""

Arrangement: TypeAlias = Callable[
    [Sequence[tuple[float, float]], tuple[int, int], np.random.Generator], list[Pose | None]
]
"""Width and height of each object in any unit, and the size of the picture -> their poses; None: there was no room."""


def apart(
    shapes: Sequence[tuple[float, float]], image_hw: tuple[int, int], rng: np.random.Generator
) -> list[Pose | None]:
    """Place each object anywhere by itself, so that none hides another."""
    poses: list[Pose | None] = []
    for shape in shapes:
        taken = [upright_box(pose.theta, image_hw) for pose in poses if pose is not None]
        poses.append(place(shape, image_hw, taken, rng))
    return poses


def in_row(
    shapes: Sequence[tuple[float, float]], image_hw: tuple[int, int], rng: np.random.Generator
) -> list[Pose | None]:
    """Place objects of one height in a row, from left to right, which is turned a little and lies wholly inside."""
    height, width = image_hw
    sides = np.array([wide / high for wide, high in shapes])
    gap, turn, size, across, down = rng.random(5).tolist()
    starts = np.concatenate([[0.0], np.cumsum(sides + _between(_ROW_GAP, gap))])
    middles = starts[:-1] + sides / 2
    offsets = np.column_stack(
        [middles - (middles[-1] + sides[-1] / 2) / 2, rng.uniform(-_ROW_WAVE, _ROW_WAVE, len(sides))]
    )
    degrees = _ROW_TURN_DEG * (2 * turn - 1)
    turns = degrees + rng.uniform(-_OWN_TURN_DEG, _OWN_TURN_DEG, len(sides))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centres = offsets @ np.array([[cos, -sin], [sin, cos]])  # counter-clockwise, with y down
    own_cos, own_sin = np.cos(np.radians(turns)), np.abs(np.sin(np.radians(turns)))
    reach = np.column_stack([sides * own_cos + own_sin, sides * own_sin + own_cos]) / 2
    first, last = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    fits = float((_ROW_ROOM * np.array([width, height]) / (last - first)).min())
    least, most = (min(share * max(image_hw), fits) for share in ROW_SIZE)
    tall = least + size * (most - least)
    room = np.array([width, height]) - tall * (last - first)
    shift = room * (across, down) - tall * first
    return [
        pose_from_box((float(x), float(y)), (float(side) * tall, tall), float(turned), image_hw)
        for (x, y), side, turned in zip(tall * centres + shift, sides, turns, strict=True)
    ]


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


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


def scattered_pose(side: float, image_hw: tuple[int, int], rng: np.random.Generator) -> Pose:
    """Return the pose of a square fragment of `side` pixels: anywhere, turned by any angle."""
    height, width = image_hw
    x, y = (float(place) for place in rng.random(2) * (width, height))
    return pose_from_box((x, y), (side, side), rng.uniform(-180, 180), image_hw)


def _hides(box: Rectangle, taken: Sequence[Rectangle]) -> bool:
    left, top, right, bottom = box
    return any(left < each[2] and each[0] < right and top < each[3] and each[1] < bottom for each in taken)
