"""Objects that are cut out of image files: by their boxes, where a folder has them, or else the whole image."""

import hashlib
import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.data.folders.class_folders import FolderSplit
from lstn.data.poses import pose_of
from lstn.data.scenes.painting import Stamp
from lstn.data.scenes.picture_cache import PictureCache
from lstn.images import Pixels, decode, shown_hw

_LONGEST = 256
"""The longer side of an object as it is kept, in pixels; larger ones are reduced."""

_MARGIN = 0.14
"""What is cut out around a box, and fades away, as a share of half of its side."""

_FADE = 0.1
"""The edge that fades away where a whole image is the object, as a share of half of its side."""

_ROUND = 8
"""The exponent of the superellipse that rounds the corners."""

_KEPT_BYTES = 128 << 20
"""Memory for the objects of one split, in each process that loads them."""

_WHOLE = np.eye(2, 3)


Outline: TypeAlias = Callable[[int, int, int, float], npt.NDArray[np.uint8]]
"""Label, width and height of a mask, and its sides in sides of the object's box -> how opaque it is (height, width)."""


class CutObjects:
    """The images of one split of a folder, each an object.

    outline: of objects with boxes; None: a rectangle
    """

    def __init__(self, images: FolderSplit, outline: Outline | None = None) -> None:
        self._images, self._outline = images, outline
        self._kept = PictureCache(_KEPT_BYTES)

    def __len__(self) -> int:
        return len(self._images)

    def label(self, number: int) -> int:
        """Return the class of an object."""
        return self._images.files[number][1]

    def shape(self, number: int) -> tuple[float, float]:
        """Return width and height of the object, in pixels as it is kept.

        Raises:
            ImageError: the file can't be read any more.
        """
        stamp = self.stamp(number)
        return stamp.picture.width / stamp.reach, stamp.picture.height / stamp.reach

    def stamp(self, number: int) -> Stamp:
        """Return the object, upright, with soft edges.

        Raises:
            ImageError: the file can't be read any more.
        """
        boxed = pose_of(self._images, number) is not None
        return Stamp(self._kept.get(number, lambda: self._cut(number)), reach=1 + _MARGIN if boxed else 1.0)

    def _cut(self, number: int) -> Image.Image:
        path, label = self._images.files[number]
        pose = pose_of(self._images, number)
        theta = _WHOLE if pose is None else pose.theta.astype(np.float64)
        height, width = shown_hw(path)
        sides = np.hypot(*(theta[:, :2] * [[width], [height]]))
        share = min(1.0, _LONGEST / float(sides.max()))
        pixels = decode(path, (max(1, round(height * share)), max(1, round(width * share))))
        reach = 1.0 if pose is None else 1 + _MARGIN
        wide, high = (max(1, round(float(side) * share * reach)) for side in sides)
        picture = _upright(pixels, theta, reach, (wide, high))
        if pose is not None and self._outline is not None:
            mask = self._outline(label, wide, high, reach)
        else:
            mask = _soft(wide, high, _FADE if pose is None else _MARGIN / reach)
        return Image.merge("RGBX", (*picture.split(), Image.fromarray(mask)))

    @property
    def fingerprint(self) -> str:
        """What is in the files, and where the objects are in them."""
        poses = [pose_of(self._images, number) for number in range(len(self))]
        boxes = b"".join(b"-" if pose is None else pose.theta.tobytes() for pose in poses)
        outlined = "" if self._outline is None else " outlined"
        return f"cut{outlined} from {self._images.fingerprint} {hashlib.sha256(boxes).hexdigest()}"


def _upright(pixels: Pixels, theta: npt.NDArray[np.float64], reach: float, size: tuple[int, int]) -> Image.Image:
    """Sample what lies `reach` around a pose: size is (width, height). Beyond the image its edges go on."""
    height, width = pixels.shape[:2]
    turn, shift = theta[:, :2] * reach, theta[:, 2]
    beyond = np.abs(turn).sum(axis=1) + np.abs(shift) - 1  # in half sides
    pad_x, pad_y = (max(0, math.ceil(far * side / 2)) for far, side in zip(beyond, (width, height), strict=True))
    padded = np.pad(pixels, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode="edge")
    half = np.array([[width / 2], [height / 2]])
    columns = np.column_stack([turn * 2 / size, shift - turn.sum(axis=1) + 1]) * half
    columns[:, 2] += pad_x, pad_y
    rows = columns.ravel().tolist()
    return Image.fromarray(padded).transform(size, Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR)


def _soft(wide: int, high: int, fade: float) -> npt.NDArray[np.uint8]:
    """Opacity (high, wide): 255 in the middle, and falling to 0 over the outer `fade` of the half sides."""
    x = np.abs((np.arange(wide) + 0.5) * 2 / wide - 1)
    y = np.abs((np.arange(high) + 0.5) * 2 / high - 1)[:, None]
    far = (x**_ROUND + y**_ROUND) ** (1 / _ROUND)
    opacity: npt.NDArray[np.uint8] = np.rint(255 * np.clip((1 - far) / fade, 0, 1)).astype(np.uint8)
    return opacity
