"""Objects in pictures: which classes they are of and where, as splits for detection say it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lstn.data.splits import Split
from lstn.errors import DataError
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """All objects of a class in one image; of a text its symbols, in the order of reading.

    labels: (M,) int64
    thetas: (M, 2, 3) float32, from the crop that shows an object upright and just filling it to the picture as it is
            read, both from -1 to 1 and from edge to edge, as `lstn.data.poses.Pose.theta`; not a number where a symbol
            is whose place nobody knows
    rewordings: of a text, the labels of others that are as true of the image, such as captions by other people
    """

    labels: npt.NDArray[np.int64]
    thetas: Theta
    rewordings: tuple[npt.NDArray[np.int64], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


class KnowsObjects(Split, Protocol):
    """A split that knows all objects in its images. An image's label is that of the first, or 0 if it has none."""

    def objects(self, index: int, /) -> Objects:
        """Return the objects in image `index`, as it is read."""


def objects_of(split: Split, index: int) -> Objects:
    """Return the objects in image `index` of a split that knows them.

    Raises:
        DataError: it doesn't.
    """
    known = getattr(split, "objects", None)
    if known is None:
        raise DataError(
            "these images say what they show, and not where",
            hint="name scenes, or a folder with COCO, YOLO or Pascal VOC annotations",
        )
    found: Objects = known(index)
    return found


def check_objects(val: Split, data: str, chosen: Sequence[int] | None = None) -> None:
    """Check that a validation image shows an object: of none there is no average precision.

    data:   the data set, as `--data` names it
    chosen: which images are asked; None: all

    Raises:
        DataError: none of them does.
    """
    if not any(len(objects_of(val, index)) for index in (range(len(val)) if chosen is None else chosen)):
        raise DataError(
            f"--data {data}: no validation image shows an object", hint="annotate some, or leave validation images out"
        )


def no_objects() -> Objects:
    """Return the objects of an image that shows none."""
    return Objects(np.zeros(0, np.int64), np.zeros((0, 2, 3), np.float32))
