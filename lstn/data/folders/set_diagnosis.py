"""Diagnosis of a folder of images: copies, classes out of balance, and odd sizes."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lstn.data.folders.checking import MAX_BROKEN
from lstn.data.folders.class_folders import FolderSplit
from lstn.data.splits import SPLIT_NAMES, DataSet
from lstn.errors import DataError, UsageError
from lstn.images import shown_hw

SIDE = 32
"""Images are compared at this size, in pixels."""

MOST_COMPARED = 20_000
"""Images that are compared with each other: the work grows with the square. Of more, only exact copies are found."""

_BLOCK = 1024
_LEVELS, _SHARE = 3.0, 0.15
"""Nearly the same: the root mean square difference of 16 x 16 gray blocks is at most so many levels of 255, and at most
this share of the picture's own standard deviation. A photo saved again as JPEG differs by less than one level."""
_FLAT = 4.0
"""Levels of standard deviation below which a picture shows too little to tell it from another."""

_SMALL_PX, _LONG = 32, 3.0
_UNEQUAL = 10.0


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image file, the split that it is in, and its label."""

    path: Path
    split: str
    label: str


@dataclass(frozen=True, slots=True)
class Copies:
    """Files that show the same picture. exact: byte for byte; else nearly the same pixels."""

    images: tuple[PlacedImage, ...]
    exact: bool

    @property
    def across_splits(self) -> bool:
        """Whether one is tested or chosen by, and another one trained on."""
        return len({each.split for each in self.images}) > 1

    @property
    def across_labels(self) -> bool:
        """Whether they have different labels."""
        return len({each.label for each in self.images}) > 1


@dataclass(frozen=True, slots=True)
class SetDiagnosis:
    """What a folder of images is like.

    images:   of each split
    classes:  label and training images of each class, most images first
    shortest, longest: the shortest and the longest side of an image, in pixels
    small:    images with a side below 32 pixels
    long:     images more than three times as long as wide, or the other way
    compared: whether nearly equal pictures were looked for, and not only exact copies
    copies:   groups of files with one picture; those across splits first, then those across labels
    broken:   files that are no image that can be read, and why
    refused:  the splits of which so many files are broken that no command takes the set
    """

    images: dict[str, int]
    classes: tuple[tuple[str, int], ...]
    shortest: int
    longest: int
    small: int
    long: int
    compared: bool
    copies: tuple[Copies, ...]
    broken: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def unequal(self) -> bool:
        """Whether the largest class has more than ten times as many training images as the smallest."""
        return self.classes[0][1] > _UNEQUAL * self.classes[-1][1]


def diagnose_set(data: DataSet, advance: Callable[[int], None] = lambda count: None) -> SetDiagnosis:
    """Look at every image of a folder, which was opened `tolerant` at `SIDE` x `SIDE` pixels.

    advance: hears of each image

    Raises:
        UsageError: the set isn't a folder of images.
        DataError: no file in it is an image that can be read.
    """
    splits = {name: data.split(name) for name in SPLIT_NAMES if not (name == "test" and data.test_is_val)}
    folders = {name: split for name, split in splits.items() if isinstance(split, FolderSplit)}
    if len(folders) < len(splits):
        raise UsageError("only folders of images can be diagnosed", hint="use --data folder:PATH")
    placed = [
        PlacedImage(path, name, data.labels[label]) for name, split in folders.items() for path, label in split.files
    ]
    broken = tuple(each for split in folders.values() for each in split.broken)
    if not placed:
        raise DataError(f"no image of {len(broken)} can be read: {broken[0]}", hint="look for a whole copy of the set")
    digests = [digest for split in folders.values() for digest in split.digests]
    sizes, blocks = [], []
    with ThreadPoolExecutor() as pool:
        for split in folders.values():
            places = range(len(split))
            for size, gray in pool.map(lambda index, split=split: _look(split, index), places):
                sizes.append(size)
                blocks.append(gray)
                advance(1)
    compared = len(placed) <= MOST_COMPARED
    pairs = [*_equal(digests), *(nearly_equal(np.stack(blocks)) if compared else ())]
    copies = [_copies(placed, digests, group) for group in _groups(len(placed), pairs)]
    counts = Counter(dict.fromkeys(data.labels, 0))
    counts.update(data.labels[label] for _, label in folders["train"].files)
    short, long = np.min(sizes, axis=1), np.max(sizes, axis=1)
    return SetDiagnosis(
        images={name: len(split) for name, split in folders.items()},
        classes=tuple(counts.most_common()),
        shortest=int(short.min()),
        longest=int(long.max()),
        small=int((short < _SMALL_PX).sum()),
        long=int((long > _LONG * short).sum()),
        compared=compared,
        copies=tuple(sorted(copies, key=lambda each: (not each.across_splits, not each.across_labels))),
        broken=broken,
        refused=tuple(
            name for name, split in folders.items() if len(split.broken) > MAX_BROKEN * (len(split) + len(split.broken))
        ),
    )


def nearly_equal(blocks: npt.NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of images, (N, 256) mean levels of their blocks, that show nearly the same."""
    spread = blocks.std(axis=1)
    bound = np.where(spread < _FLAT, -1.0, np.minimum(_LEVELS, _SHARE * spread))
    centred = blocks - 127.5  # smaller numbers round less
    lengths = np.square(centred).sum(axis=1)
    for start in range(0, len(blocks), _BLOCK):
        rows = slice(start, start + _BLOCK)
        apart = lengths[rows, None] + lengths[None, start:] - 2 * centred[rows] @ centred[start:].T
        most = np.minimum(bound[rows, None], bound[None, start:])
        found = (apart <= np.square(most) * blocks.shape[1] + 0.5) & (most > 0)
        for row, column in np.argwhere(np.triu(found, k=1)).tolist():
            yield start + row, start + column


def _look(split: FolderSplit, index: int) -> tuple[tuple[int, int], npt.NDArray[np.float32]]:
    """Return height and width of an image, and the mean gray levels of its blocks, (256,)."""
    pixels, _ = split[index]
    gray = pixels.mean(axis=2, dtype=np.float32)
    return shown_hw(split.files[index][0]), gray.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3)).ravel()


def _equal(digests: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return pairs of files with the same contents, each file with the first one that has them."""
    first: dict[bytes, int] = {}
    pairs = ((first.setdefault(digest, index), index) for index, digest in enumerate(digests))
    return [pair for pair in pairs if pair[0] != pair[1]]


def _groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the numbers that pairs connect, in groups of two or more."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in pairs:
        parent[max(root(one), root(other))] = min(root(one), root(other))
    groups = defaultdict(list)
    for index in range(count):
        groups[root(index)].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _copies(placed: Sequence[PlacedImage], digests: Sequence[bytes], group: Sequence[int]) -> Copies:
    return Copies(tuple(placed[index] for index in group), len({digests[index] for index in group}) == 1)
