"""Painting of objects into a picture, each exactly where its pose says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from lstn.data.poses import Pose
from lstn.imaging.framing import Colour

_EDGE_PX = 1.5
"""The width of an edge in a picture, wherever what is painted has softer ones."""

_LEVEL = 100
"""The opacity of a mask, 0 to 255, at which the edge of the object is."""

_CONTRAST = (95.0, 135.0)
"""How much brighter or darker than what lies below a mask is painted, of 255."""

_TINT = 70.0
"""How far the colour's channels may be from gray, of 255."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """An object to paint, upright.

    picture: L, how opaque the object is, to be painted in a colour that contrasts; or RGBX with colours of its own,
             where X is how opaque they are
    reach:   side of the picture, in sides of the object's box, which is in its middle
    soft:    the width of the edges, in pixels of the picture
    halo:    L, of the same shape: how much what lies below is shaded, so that the object stands out; or none
    """

    picture: Image.Image
    reach: float = 1.0
    soft: float = 1.0
    halo: Image.Image | None = None


def paint(canvas: Image.Image, stamp: Stamp, pose: Pose, rng: np.random.Generator) -> None:
    """Paint an object into an RGB picture. What lies outside of the picture is cut off."""
    view = _View.of(canvas, stamp, pose)
    if view is None:
        return
    layer = view.seen(stamp.picture)
    if layer.mode != "L":
        canvas.paste(layer.convert("RGB"), view.box, layer.getchannel("X"))
        return
    under = canvas.reduce(layer.size, box=view.box).tobytes()  # one pixel, the mean
    colour, opposite = _contrasting(under, rng)
    if stamp.halo is not None:
        canvas.paste(opposite, view.box, view.seen(stamp.halo))
    edge_px = stamp.soft * view.size[0] / stamp.picture.width
    sharp = layer.point(_steeper(round(edge_px / _EDGE_PX, 1))) if edge_px > _EDGE_PX else layer
    canvas.paste(colour, view.box, sharp)


def piece_of(stamp: Stamp, share: float, rng: np.random.Generator) -> Stamp:
    """Return a random square piece of an object, a `share` of its longer side wide."""
    side = max(1, round(share * max(stamp.picture.size) / stamp.reach))
    room = np.maximum(0, np.array(stamp.picture.size) - side)
    left, top = (int(place) for place in rng.integers(room + 1))
    box = (left, top, min(left + side, stamp.picture.width), min(top + side, stamp.picture.height))
    return Stamp(stamp.picture.crop(box), soft=stamp.soft)


@dataclass(frozen=True, slots=True)
class _View:
    """The part of a picture that a stamp covers.

    box:  left, top, right, bottom in whole pixels
    rows: from pixels of the box to the stamp, whose sides are 0..1: two rows of an affine matrix
    size: of the stamp in the picture, in pixels
    """

    box: tuple[int, int, int, int]
    rows: tuple[tuple[float, float, float], tuple[float, float, float]]
    size: tuple[float, float]

    @classmethod
    def of(cls, canvas: Image.Image, stamp: Stamp, pose: Pose) -> "_View | None":
        """Return the view, or None if nothing of the stamp is on the canvas."""
        half_wide, half_high = canvas.width / 2, canvas.height / 2
        (a, b, x), (c, d, y) = pose.theta.tolist()
        a, b, x = (value * half_wide for value in (a * stamp.reach, b * stamp.reach, x + 1))
        c, d, y = (value * half_high for value in (c * stamp.reach, d * stamp.reach, y + 1))
        left, right = max(0, math.floor(x - abs(a) - abs(b))), min(canvas.width, math.ceil(x + abs(a) + abs(b)))
        top, bottom = max(0, math.floor(y - abs(c) - abs(d))), min(canvas.height, math.ceil(y + abs(c) + abs(d)))
        if left >= right or top >= bottom:
            return None
        x, y, twice = x - left, y - top, 2 * (a * d - b * c)  # half of the inverse makes 0..1 of -1..1
        rows = (
            (d / twice, -b / twice, 0.5 - (d * x - b * y) / twice),
            (-c / twice, a / twice, 0.5 - (a * y - c * x) / twice),
        )
        return cls((left, top, right, bottom), rows, (2 * math.hypot(a, c), 2 * math.hypot(b, d)))

    def seen(self, picture: Image.Image) -> Image.Image:
        """Return the stamp's picture, or its halo, as it lies in the box; nothing around it."""
        wide, high = (min(side, max(1, round(s))) for side, s in zip(picture.size, self.size, strict=True))
        if (wide, high) != picture.size:  # reduced first, so that every pixel of it counts
            picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
        matrix = [side * value for side, row in zip((wide, high), self.rows, strict=True) for value in row]
        size = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return picture.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _contrasting(under: Sequence[float], rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Return a random colour that is much brighter or darker than another one; and black or white, the opposite."""
    doubt, step, *tint = rng.random(5).tolist()
    below = _luma(under)
    brighter = below + 60 * doubt - 30 < 128
    light = below + (_CONTRAST[0] + step * (_CONTRAST[1] - _CONTRAST[0])) * (1 if brighter else -1)
    tint = [_TINT * (2 * value - 1) for value in tint]
    red, green, blue = (min(255, max(0, round(light + value - _luma(tint)))) for value in tint)
    return (red, green, blue), ((0, 0, 0) if brighter else (255, 255, 255))


def _luma(colour: Sequence[float]) -> float:
    """Return how bright a colour is to the eye, by the weights of ITU-R BT.601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


@cache
def _steeper(gain: float) -> list[int]:
    """Return a table that makes the edges of a mask steeper."""
    return [min(255, max(0, round((level - _LEVEL) * gain + _LEVEL))) for level in range(256)]
