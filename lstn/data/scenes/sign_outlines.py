"""Outlines of GTSRB's traffic signs, so that a sign is cut out without what was behind it."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_FINE = 4
"""Pixels that are drawn to one of the mask, each way."""

_GROWN = 1.06
"""How much larger an outline is than its box says: boxes are drawn by hand."""

_TRIANGLES = frozenset({11, *range(18, 32)})
_CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "triangle": ((-0.16, -1), (0.16, -1), (1, 0.74), (0.9, 1), (-0.9, 1), (-1, 0.74)),
    "yield": ((-0.9, -1), (0.9, -1), (1, -0.74), (0.16, 1), (-0.16, 1), (-1, -0.74)),
    "diamond": ((0, -1.04), (1.04, 0), (0, 1.04), (-1.04, 0)),
    "octagon": tuple((1.08 * math.cos(angle), 1.08 * math.sin(angle)) for angle in math.pi / 8 * np.arange(1, 16, 2)),
}
"""Corners in half sides of the box, y pointing down."""

_OTHERS = {12: "diamond", 13: "yield", 14: "octagon"}


def sign_mask(label: int, wide: int, high: int, reach: float) -> npt.NDArray[np.uint8]:
    """Return how opaque a sign of GTSRB's class `label` is, (high, wide), 0 to 255.

    reach: sides of the mask, in sides of the sign's box, which is in its middle
    """
    mask = Image.new("L", (wide * _FINE, high * _FINE))
    draw, scale = ImageDraw.Draw(mask), np.array(mask.size) / 2
    shape = "triangle" if label in _TRIANGLES else _OTHERS.get(label)
    if shape is None:
        ends = (1 + np.array([[-1, -1], [1, 1]]) * _GROWN / reach) * scale
        draw.ellipse(ends.ravel().tolist(), fill=255)
    else:
        points = (1 + np.array(_CORNERS[shape]) * _GROWN / reach) * scale
        draw.polygon([(x, y) for x, y in points.tolist()], fill=255)
    return np.asarray(mask.reduce(_FINE))
