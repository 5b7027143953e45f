"""True poses: where the object of a picture is, how large, and how it is turned, as sets say it that know."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lstn.data.splits import Split
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True)
class Pose:
    """The crop that shows an object upright and just filling it.

    theta: (2, 3) float32, from the crop to the picture, both from -1 to 1 and from edge to edge, as a transformer's
    """

    theta: Theta


class Posed(Split, Protocol):
    """A split that knows where the objects in its images are."""

    def pose(self, index: int, /) -> Pose | None:
        """Return the pose in image `index`, as it is read; None where it is not known."""


def pose_of(split: Split, index: int) -> Pose | None:
    """Return the true pose in image `index`; None where it is not known, or the split knows none."""
    known = getattr(split, "pose", None)
    found: Pose | None = None if known is None else known(index)
    return found


def pose_from_box(
    centre: tuple[float, float], size: tuple[float, float], degrees: float, image_hw: tuple[int, int]
) -> Pose:
    """Return the pose of a box in a picture: centre (x, y) and size (width, height) in pixels, from the outer edges.

    degrees:  how far the object is turned counter-clockwise from upright, around the box's centre
    image_hw: height and width of the picture in pixels
    """
    height, width = image_hw
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    turn: npt.NDArray[np.float64] = np.array([[cos, sin], [-sin, cos]])  # y points down
    matrix = np.column_stack([turn * size, centre - np.array([width, height]) / 2])
    return Pose((matrix / [[width], [height]] * [1, 1, 2]).astype(np.float32))


def pose_from_corners(corners: npt.NDArray[np.float64], image_hw: tuple[int, int]) -> Pose:
    """Return the pose of a box whose corners (4, 2), x and y in pixels, go round from the object's own top left one.

    It is the parallelogram nearest to them, by least squares. Corners that go round counter-clockwise are taken the
    other way round from the same first one, so that nothing is mirrored.

    image_hw: height and width of the picture in pixels
    """
    one, two, three, four = corners / (image_hw[1], image_hw[0]) * 2 - 1
    across, down = (two + three - one - four) / 4, (three + four - one - two) / 4
    if across[0] * down[1] < across[1] * down[0]:
        across, down = down, across
    return Pose(np.column_stack([across, down, (one + two + three + four) / 4]).astype(np.float32))
