"""MNIST, and the distorted MNIST of the first paper on spatial transformers, drawn from it.

The four files are read as they were published (about 0.3 s). As 70,000 image files they would take 25 times the room
on disk and, decoded one by one, 30 times as long at the start of every run.
"""

import gzip
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.data.distortion import CLUTTER_SIDE, DISTORTIONS, PLACEMENTS, RTS_SIDE, Distortion, Placement
from lstn.data.poses import Pose, pose_from_box
from lstn.data.published.published_files import Published, require_files
from lstn.data.splits import DataSet, SplitName
from lstn.errors import DataError
from lstn.images import Pixels

MNIST_SETS = ("mnist", *(f"mnist-{name}" for name in DISTORTIONS))

MNIST_SIDES = {name: {"mnist-rts": RTS_SIDE, "mnist-cluttered": CLUTTER_SIDE}.get(name, 28) for name in MNIST_SETS}
"""The side in pixels that a set's images are drawn at."""

MNIST_LABELS = tuple("0123456789")
MNIST_MEAN = (0.0, 0.0, 0.0)
MNIST_STD = (0.3081, 0.3081, 0.3081)
"""Black must stay 0, which is what the sampler reads outside of the image (see `lstn.data.digits`); the deviation is
MNIST's own."""

_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
MNIST_FILES = tuple(
    Published(f"MNIST/raw/{file}", md5, tuple(mirror + file for mirror in _MIRRORS))
    for file, md5 in (
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    )
)

_SIDE = 28
_BOX = 20
"""Side of the box that each digit fitted, before it was placed in its frame by its centre of mass."""

_MAX_IMAGES = 100_000
_VAL_SHARE = 6
"""Of the training file's images the last sixth, 10,000, is for validation, as is the custom."""

_FIXED_SEED = 0
"""Validation and test images are drawn with this seed whatever the run's: all runs answer the same questions."""

_Gray: TypeAlias = npt.NDArray[np.uint8]


class MnistSplit:
    """One split: digits as they are, or each distorted by what its number, the epoch and the seed alone decide."""

    def __init__(
        self,
        split: SplitName,
        distortion: str,
        *,
        root: Path,
        image_hw: tuple[int, int],
        seed: int,
        epoch: int = 0,
    ) -> None:
        self.split: SplitName = split
        self.distortion = distortion
        self.root = root
        self.image_hw = image_hw
        self.seed = seed if split == "train" else _FIXED_SEED
        self.epoch = epoch
        self._draw: Distortion | None = DISTORTIONS[distortion] if distortion else None
        images, labels = _load(root, "t10k" if split == "test" else "train")
        held_out = len(images) - len(images) // _VAL_SHARE
        span = {"train": slice(held_out), "val": slice(held_out, None), "test": slice(None)}[split]
        self._images, self._labels = images[span], labels[span]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        number = range(len(self))[index]
        canvas = self._images[number] if self._draw is None else self._distorted(self._draw, number)
        image = Image.fromarray(canvas)
        if canvas.shape != self.image_hw:
            image = image.resize((self.image_hw[1], self.image_hw[0]), Image.Resampling.BILINEAR)
        return np.asarray(image.convert("RGB")), int(self._labels[number])

    def pose(self, index: int) -> Pose | None:
        """Where the box is that the digit fits; None where the digit is not only placed but warped."""
        number = range(len(self))[index]
        if not self.distortion:
            return _boxed(self._images[number], Placement(_SIDE))
        place = PLACEMENTS.get(self.distortion)
        return None if place is None else _boxed(self._images[number], place(_SIDE, self._rng(number)))

    def _distorted(self, draw: Distortion, number: int) -> _Gray:
        return draw(self._images[number], self._images, self._rng(number))

    def _rng(self, number: int) -> np.random.Generator:
        part = ("train", "val", "test").index(self.split)
        kind = tuple(DISTORTIONS).index(self.distortion)
        return np.random.default_rng([self.seed, number, self.epoch, part, kind])

    @property
    def fingerprint(self) -> str:
        """All that the images depend on: the files are known by their checksums."""
        kind = f"mnist-{self.distortion}" if self.distortion else "mnist"
        drawn = f" {self.seed}" if self.distortion else ""
        return f"{kind} {self.split} {len(self)} {self.image_hw}{drawn}"

    def redrawn(self, epoch: int) -> "MnistSplit":
        """The same digits, each distorted anew; what is not for training, or not distorted, stays as it is."""
        if self._draw is None or self.split != "train":
            return self
        return MnistSplit(
            self.split, self.distortion, root=self.root, image_hw=self.image_hw, seed=self.seed, epoch=epoch
        )


def open_mnist(name: str, root: Path, image_hw: tuple[int, int], seed: int) -> DataSet:
    """Open a name in MNIST_SETS, whose files lie below `root`.

    Raises:
        DataError: the files aren't there, or aren't the published ones.
    """
    require_files("mnist", MNIST_FILES, root)
    distortion = name.partition("-")[2]
    return DataSet(
        MNIST_LABELS,
        lambda split: MnistSplit(split, distortion, root=root, image_hw=image_hw, seed=seed),
        mean=MNIST_MEAN,
        std=MNIST_STD,
        mirrors=False,
        parts="the first five sixths and the last of the training file, and the test file",
    )


def open_mnist_files(root: Path) -> tuple[tuple[_Gray, _Gray], tuple[_Gray, _Gray]]:
    """Return images (N, 28, 28) and labels (N,) of the training file and of the test file below `root`.

    Raises:
        DataError: the files aren't there, or aren't the published ones.
    """
    require_files("mnist", MNIST_FILES, root)
    return _load(root, "train"), _load(root, "t10k")


def _boxed(digit: _Gray, at: Placement) -> Pose:
    """Return the pose of the box around the middle of a digit's ink (28, 28)."""
    rows, columns = (np.flatnonzero(digit.any(axis)) for axis in (1, 0))
    middle = [(line[0] + line[-1] + 1) / 2 if len(line) else _SIDE / 2 for line in (columns, rows)]
    x, y = at.on_canvas(np.array(middle), _SIDE).tolist()
    return pose_from_box((x, y), (_BOX * at.scale, _BOX * at.scale), at.degrees, (at.side, at.side))


@lru_cache(maxsize=4)
def _load(root: Path, part: Literal["train", "t10k"]) -> tuple[_Gray, _Gray]:
    """Images (N, 28, 28) and labels (N,) of one half."""
    images = _read_idx(root / f"MNIST/raw/{part}-images-idx3-ubyte.gz", (_SIDE, _SIDE))
    path = root / f"MNIST/raw/{part}-labels-idx1-ubyte.gz"
    labels = _read_idx(path, ())
    if len(labels) != len(images) or labels.max(initial=0) > 9:
        raise DataError(f"{path}: {len(labels)} labels up to {labels.max(initial=0)}, for {len(images)} images")
    return images, labels


def _read_idx(path: Path, shape: tuple[int, ...]) -> _Gray:
    """Read a gzipped IDX file of bytes: a magic number that says how many axes, their lengths, the values."""
    header = 4 * (2 + len(shape))
    limit = header + _MAX_IMAGES * int(np.prod(shape, dtype=int))
    try:
        with gzip.open(path) as file:
            data = file.read(limit + 1)  # of a file that swells without end, no more than this
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error})") from error
    found = tuple(np.frombuffer(data[:header], ">u4").tolist()) if len(data) >= header else ()
    if len(data) > limit or found[:1] != (0x801 + len(shape),) or found[2:] != shape:
        raise DataError(f"{path}: no IDX file of {'x'.join(map(str, shape)) or 'single'} bytes each")
    if len(data) - header != found[1] * int(np.prod(shape, dtype=int)):
        raise DataError(f"{path}: {len(data) - header} bytes, where its header promises {found[1]} items")
    items: _Gray = np.frombuffer(data, np.uint8, offset=header).reshape(found[1], *shape)
    return items
