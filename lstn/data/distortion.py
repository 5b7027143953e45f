"""The distorted MNIST of Jaderberg, Simonyan, Zisserman, Kavukcuoglu: Spatial Transformer Networks (2015), section 4.1.

The parameters are those of the paper's appendix on these data as we remember it, not yet held against the text: R turns
a digit by up to 90 degrees either way; RTS by up to 45, scales it by 0.7 to 1.2 and places it at random on 42 x 42; P
scales by 0.75 to 1 and moves each corner by a normal amount of 5 pixels; E scales alike and moves the 16 control points
of a thin plate spline by 1.5 pixels; the cluttered set places a digit at random on 60 x 60, with six 6 x 6 patches of
other digits. What the appendix leaves open, and is decided here, stands at each function. Points are (x, y) in pixels,
with pixel centres at halves.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Gray: TypeAlias = npt.NDArray[np.uint8]
"""(H, W) or (N, H, W), black 0 to white 255."""

Points: TypeAlias = npt.NDArray[np.float64]
"""(..., 2): x, y."""

Distortion: TypeAlias = Callable[[Gray, Gray, np.random.Generator], Gray]
"""A digit (28, 28), all digits of its split (N, 28, 28), and what decides -> the canvas."""

R_DEG = 90.0
RTS_DEG, RTS_SCALE, RTS_SIDE = 45.0, (0.7, 1.2), 42
WARP_SCALE = (0.75, 1.0)
CORNER_PX = 5.0
CONTROL_PX, CONTROL_ROWS = 1.5, 4
CLUTTER_SIDE, PATCHES, PATCH_SIDE = 60, 6, 6


def rotate(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """R: turned around the middle by up to 90 degrees either way, uniformly; (28, 28)."""
    return similar(digit, len(digit), degrees=rng.uniform(-R_DEG, R_DEG))


def rotate_scale_translate(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """RTS: turned, scaled and placed; (42, 42).

    Decided here: the three are uniform, and the digit's 28 x 28 frame, before it is turned and scaled, stays on the
    canvas.
    """
    room = (RTS_SIDE - len(digit)) / 2
    return similar(
        digit,
        RTS_SIDE,
        degrees=rng.uniform(-RTS_DEG, RTS_DEG),
        scale=rng.uniform(*RTS_SCALE),
        shift=rng.uniform(-room, room, 2),
    )


def project(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """P: scaled, then each corner moved; (28, 28).

    Decided here: x and y of each corner move independently, and corners are drawn again until they span a convex
    quadrangle, because others fold the digit or send it through infinity.
    """
    side = len(digit)
    scale = rng.uniform(*WARP_SCALE)
    while not convex(corners := side / 2 + scale * (frame(side) - side / 2) + rng.normal(0, CORNER_PX, (4, 2))):
        pass
    matrix = homography(corners, frame(side))
    matrix *= np.sign(matrix[2] @ [*corners.mean(axis=0), 1.0])  # so that the digit lies on the positive side
    points = np.concatenate([pixel_centres(side), np.ones((side, side, 1))], axis=2) @ matrix.T
    # Behind the horizon the quotient would bring the digit back upside down.
    ahead = points[..., 2:] > 1e-6
    return sample(digit, np.where(ahead, points[..., :2] / np.where(ahead, points[..., 2:], 1.0), -1.0))


def elastic(digit: Gray, _others: Gray, rng: np.random.Generator) -> Gray:
    """E: scaled, then bent by a thin plate spline through 4 x 4 control points, each moved; (28, 28).

    Decided here: the control points lie from edge to edge, and the spline says where each pixel of the canvas comes
    from.
    """
    scale = rng.uniform(*WARP_SCALE)
    return bend(digit, rng.normal(0, CONTROL_PX, (CONTROL_ROWS**2, 2)), scale=scale)


def clutter(digit: Gray, others: Gray, rng: np.random.Generator) -> Gray:
    """Cluttered: placed, with patches of other digits anywhere; (60, 60).

    Decided here: places are whole pixels, uniform, all of the digit's 28 x 28 on the canvas; patches come from
    anywhere in any digit of the same split; where things overlap the brighter pixel shows.
    """
    side = len(digit)
    canvas = np.zeros((CLUTTER_SIDE, CLUTTER_SIDE), np.uint8)
    top, left = rng.integers(CLUTTER_SIDE - side + 1, size=2)
    canvas[top : top + side, left : left + side] = digit
    sources = rng.integers(len(others), size=PATCHES)
    within = rng.integers(side - PATCH_SIDE + 1, size=(PATCHES, 2))
    places = rng.integers(CLUTTER_SIDE - PATCH_SIDE + 1, size=(PATCHES, 2))
    for source, (y, x), (top, left) in zip(sources, within, places, strict=True):
        patch = others[source, y : y + PATCH_SIDE, x : x + PATCH_SIDE]
        under = canvas[top : top + PATCH_SIDE, left : left + PATCH_SIDE]
        np.maximum(under, patch, out=under)
    return canvas


DISTORTIONS: dict[str, Distortion] = {
    "r": rotate,
    "rts": rotate_scale_translate,
    "p": project,
    "e": elastic,
    "cluttered": clutter,
}
"""What stands behind `mnist-` -> how it is drawn. The order is part of the seeds: add at the end."""


def similar(
    image: Gray,
    side: int,
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: npt.ArrayLike = (0.0, 0.0),
) -> Gray:
    """Draw a square image on a canvas of `side`: turned counter-clockwise and scaled around the canvas' middle, then
    shifted by (x, y) pixels."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale  # y points down
    return sample(image, (pixel_centres(side) - side / 2 - np.asarray(shift)) @ turn.T + len(image) / 2)


def bend(image: Gray, moved: Points, *, scale: float = 1.0) -> Gray:
    """Scale a square image around its middle and bend it by a thin plate spline whose control points move (16, 2)."""
    side = len(image)
    return sample(image, side / 2 + (pixel_centres(side) + spline(side) @ moved - side / 2) / scale)


@cache
def spline(side: int) -> npt.NDArray[np.float64]:
    """(side, side, 16): how much each control point's displacement moves each pixel (Bookstein 1989, r^2 log r)."""
    line = np.linspace(0, side, CONTROL_ROWS)
    control = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    count = len(control)

    def basis(points: Points) -> npt.NDArray[np.float64]:
        square: Points = ((points[..., None, :] - control) ** 2).sum(-1)
        values: Points = square * np.log(np.where(square > 0, square, 1.0))
        return values

    affine = np.concatenate([np.ones((count, 1)), control], axis=1)
    system = np.block([[basis(control), affine], [affine.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.eye(count + 3)[:, :count])
    points = pixel_centres(side)
    field: npt.NDArray[np.float64] = np.concatenate([basis(points), np.ones((side, side, 1)), points], axis=2) @ weights
    return field


def homography(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix, 1 at its end, that takes four points to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source.tolist(), target.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    matrix: Points = np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)
    return matrix


def convex(corners: Points) -> bool:
    """Whether four corners, in the order of `frame`, span a convex quadrangle that isn't mirrored."""
    along = np.roll(corners, -1, axis=0) - corners
    onward = np.roll(along, -1, axis=0)
    return bool((along[:, 0] * onward[:, 1] - along[:, 1] * onward[:, 0] > 0).all())


def frame(side: int) -> Points:
    """The corners of a square image: clockwise from the top left."""
    return np.array([[0, 0], [side, 0], [side, side], [0, side]], float)


@cache
def pixel_centres(side: int) -> Points:
    """(side, side, 2): where the middle of each pixel is."""
    line = np.arange(side) + 0.5
    return np.stack(np.meshgrid(line, line), axis=-1)


def sample(image: Gray, points: Points) -> Gray:
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
