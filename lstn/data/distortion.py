"""The distorted MNIST of Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks (2015), section 4.1.

The parameters are those of the paper's appendix on these data as we remember it, not yet held against the text: R turns
a digit by up to 90 degrees either way; RTS by up to 45, scales it by 0.7 to 1.2 and places it at random on 42 x 42; P
scales by 0.75 to 1 and moves each corner by a normal amount of 5 pixels; E scales alike and moves the 16 control points
of a thin plate spline by 1.5 pixels; the cluttered set places a digit at random on 60 x 60, with six 6 x 6 patches of
other digits. What the appendix leaves open, and is decided here, stands at each function. Points are (x, y) in pixels,
with pixel centres at halves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.warps.spline import CONTROL, basis

Gray: TypeAlias = npt.NDArray[np.uint8]
"""(H, W) or (N, H, W), black 0 to white 255."""

Points: TypeAlias = npt.NDArray[np.float64]
"""(..., 2): x, y."""

Distortion: TypeAlias = Callable[[Gray, Gray, np.random.Generator], Gray]
"""A digit (28, 28), all digits of its split (N, 28, 28), and what decides -> the canvas."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the square frame of a digit lies on a square canvas.

    side:    of the canvas, in pixels
    degrees: how far the frame is turned counter-clockwise around the canvas' middle
    scale:   how many times as large it is then
    shift:   by how many pixels (x, y) it is moved then
    """

    side: int
    degrees: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def on_canvas(self, points: Points, frame_side: int) -> Points:
        """Return where points (..., 2) of a frame of this side lie on the canvas, (..., 2)."""
        turned = (points - frame_side / 2) @ _turn(-self.degrees).T * self.scale
        placed: Points = turned + self.side / 2 + np.asarray(self.shift)
        return placed


Placing: TypeAlias = Callable[[int, np.random.Generator], Placement]
"""The side of a digit's frame, and what decides -> where the digit lies: the first that a distortion draws."""

R_DEG = 90.0
RTS_DEG, RTS_SCALE, RTS_SIDE = 45.0, (0.7, 1.2), 42
WARP_SCALE = (0.75, 1.0)
CORNER_PX = 5.0
CONTROL_PX = 1.5
CLUTTER_SIDE, PATCHES, PATCH_SIDE = 60, 6, 6


def rotate(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """R: turned around the middle by up to 90 degrees either way, uniformly; (28, 28)."""
    return similar(digit, place_rotated(len(digit), rng))


def place_rotated(side: int, rng: np.random.Generator) -> Placement:
    """Return how R places a digit."""
    return Placement(side, degrees=rng.uniform(-R_DEG, R_DEG))


def rotate_scale_translate(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """RTS: turned, scaled and placed; (42, 42).

    Decided here: the three are uniform, and the digit's 28 x 28 frame, before it is turned and scaled, stays on the
    canvas.
    """
    return similar(digit, place_rts(len(digit), rng))


def place_rts(side: int, rng: np.random.Generator) -> Placement:
    """Return how RTS places a digit."""
    room = (RTS_SIDE - side) / 2
    degrees, scale = rng.uniform(-RTS_DEG, RTS_DEG), rng.uniform(*RTS_SCALE)
    x, y = rng.uniform(-room, room, 2).tolist()
    return Placement(RTS_SIDE, degrees, scale, (x, y))


def project(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """P: scaled, then each corner moved; (28, 28).

    Decided here: x and y of each corner move independently, and corners are drawn again until they span a convex
    quadrangle, because others fold the digit or send it through infinity.
    """
    side = len(digit)
    scale = rng.uniform(*WARP_SCALE)
    while not convex(
        corners := side / 2 + scale * (square_corners(side) - side / 2) + rng.normal(0, CORNER_PX, (4, 2))
    ):
        pass
    matrix = homography(corners, square_corners(side))
    matrix *= np.sign(matrix[2] @ [*corners.mean(axis=0), 1.0])  # so that the digit lies on the positive side
    points = np.concatenate([pixel_centres(side), np.ones((side, side, 1))], axis=2) @ matrix.T
    # Behind the horizon the quotient would bring the digit back upside down.
    ahead = points[..., 2:] > 1e-6
    return sample_bilinear(digit, np.where(ahead, points[..., :2] / np.where(ahead, points[..., 2:], 1.0), -1.0))


def elastic(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """E: scaled, then bent by a thin plate spline through 4 x 4 control points, each moved; (28, 28).

    Decided here: the control points lie from edge to edge, and the spline says where each pixel of the canvas comes
    from.
    """
    scale = rng.uniform(*WARP_SCALE)
    return bend(digit, rng.normal(0, CONTROL_PX, CONTROL.shape), scale=scale)


def clutter(digit: Gray, others: Gray, rng: np.random.Generator) -> Gray:
    """Cluttered: placed, with patches of other digits anywhere; (60, 60).

    Decided here: places are whole pixels, uniform, all of the digit's 28 x 28 on the canvas; patches come from
    anywhere in any digit of the same split; where things overlap the brighter pixel shows.
    """
    side = len(digit)
    canvas = np.zeros((CLUTTER_SIDE, CLUTTER_SIDE), np.uint8)
    top, left = _clutter_corner(side, rng)
    canvas[top : top + side, left : left + side] = digit
    sources = rng.integers(len(others), size=PATCHES)
    within = rng.integers(side - PATCH_SIDE + 1, size=(PATCHES, 2))
    places = rng.integers(CLUTTER_SIDE - PATCH_SIDE + 1, size=(PATCHES, 2))
    for source, (y, x), (top, left) in zip(sources, within, places, strict=True):
        patch = others[source, y : y + PATCH_SIDE, x : x + PATCH_SIDE]
        under = canvas[top : top + PATCH_SIDE, left : left + PATCH_SIDE]
        np.maximum(under, patch, out=under)
    return canvas


def place_cluttered(side: int, rng: np.random.Generator) -> Placement:
    """Return where the cluttered set places a digit."""
    top, left = _clutter_corner(side, rng)
    room = (CLUTTER_SIDE - side) / 2
    return Placement(CLUTTER_SIDE, shift=(left - room, top - room))


def _clutter_corner(side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a digit among clutter."""
    top, left = rng.integers(CLUTTER_SIDE - side + 1, size=2).tolist()
    return top, left


DISTORTIONS: dict[str, Distortion] = {
    "r": rotate,
    "rts": rotate_scale_translate,
    "p": project,
    "e": elastic,
    "cluttered": clutter,
}
"""What stands behind `mnist-` -> how it is drawn. The order is part of the seeds: add at the end."""

PLACEMENTS: dict[str, Placing] = {"r": place_rotated, "rts": place_rts, "cluttered": place_cluttered}
"""Those of them that leave a digit's shape as it is. No affine crop undoes the others."""


def similar(image: Gray, at: Placement) -> Gray:
    """Draw a square image on a canvas, where the placement says."""
    turn = _turn(at.degrees) / at.scale
    points = (pixel_centres(at.side) - at.side / 2 - np.asarray(at.shift)) @ turn.T
    return sample_bilinear(image, points + len(image) / 2)


def _turn(degrees: float) -> Points:
    """From what is turned counter-clockwise by so much to what it was, (2, 2)."""
    angle = np.deg2rad(degrees)
    turn: Points = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # y points down
    return turn


def bend(image: Gray, moved: Points, *, scale: float = 1.0) -> Gray:
    """Scale a square image around its middle and bend it by a thin plate spline whose control points move (16, 2)."""
    side = len(image)
    return sample_bilinear(image, side / 2 + (pixel_centres(side) + spline(side) @ moved - side / 2) / scale)


@cache
def spline(side: int) -> npt.NDArray[np.float64]:
    """(side, side, 16): how much each control point's displacement moves each pixel."""
    return basis(2 * pixel_centres(side).reshape(-1, 2) / side - 1).reshape(side, side, -1)


def homography(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix, 1 at its end, that takes four points to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source.tolist(), target.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    matrix: Points = np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)
    return matrix


def convex(corners: Points) -> bool:
    """Whether four corners, in the order of `square_corners`, span a convex quadrangle that isn't mirrored."""
    along = np.roll(corners, -1, axis=0) - corners
    onward = np.roll(along, -1, axis=0)
    return bool((along[:, 0] * onward[:, 1] - along[:, 1] * onward[:, 0] > 0).all())


def square_corners(side: int) -> Points:
    """The corners of a square image: clockwise from the top left."""
    return np.array([[0, 0], [side, 0], [side, side], [0, side]], float)


@cache
def pixel_centres(side: int) -> Points:
    """(side, side, 2): where the middle of each pixel is."""
    line = np.arange(side) + 0.5
    return np.stack(np.meshgrid(line, line), axis=-1)


def sample_bilinear(image: Gray, points: Points) -> Gray:
    """Read an image (H, W) at points (h, w, 2) bilinearly, black outside -> (h, w)."""
    height, width = image.shape
    padded = np.zeros((height + 2, width + 2))
    padded[1:-1, 1:-1] = image
    x = np.clip(points[..., 0] + 0.5, 0.0, width + 1 - 1e-9)  # in cells of the padded image, centres at whole numbers
    y = np.clip(points[..., 1] + 0.5, 0.0, height + 1 - 1e-9)
    left, top = x.astype(int), y.astype(int)
    right, below = x - left, y - top
    corner = top * (width + 2) + left
    flat = padded.ravel()
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + width + 2] * (1 - right) + flat[corner + width + 3] * right
    values: Gray = np.rint(upper * (1 - below) + lower * below).astype(np.uint8)
    return values
