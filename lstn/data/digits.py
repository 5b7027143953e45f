"""The embedded data set: 12,000 of MNIST's handwritten digits, each turned, scaled and shifted on a larger canvas.

MNIST is by Yann LeCun and Corinna Cortes, licensed under CC BY-SA 3.0 (http://yann.lecun.com/exdb/mnist/). The digits
are a subset of it, cropped to their 20 x 20 box and reduced to 16 gray levels by `benchmarks/make_digits.py`. Test
digits are from MNIST's test file, whose writers are not those of the training file.

Rotation, scale, place and clutter depend on the seed, the digit's number and the epoch alone, so an image is the same
on every machine.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from lstn.data.poses import Pose, pose_from_box
from lstn.images import Pixels

DIGIT_LABELS = tuple("0123456789")

DIGIT_MEAN = (0.0, 0.0, 0.0)
DIGIT_STD = (0.25, 0.25, 0.25)
"""Black must stay 0, because 0 is what the sampler reads outside of the image: ImageNet's mean would put a bright
frame around every crop."""

DIGIT_SIZE = 44
"""The side in pixels that the set is made for: a digit then has about as many pixels as in the file."""

DIGIT_EPOCHS = 5
"""How often a training shows each digit, each time in another pose: enough for nine of ten test digits with backbones
of usual size, in minutes on two cores."""

ROTATION_DEG = 45.0
SCALE = (0.7, 1.1)
SHIFT = 0.2
"""Largest rotation either way; range of scales; largest shift either way, as a share of the canvas."""

_DIGIT_SIDE = 0.52
"""Side of an unscaled digit's box, as a share of the canvas."""

_CLUTTER = 1
_CLUTTER_CELLS = 5
"""How many fragments of other digits lie around, and their side in pixels of the 20 x 20 raster."""

RASTER = 20
"""Side of a digit's box in the file, in pixels."""

_PART = {"train": range(10_000), "val": range(10_000, 11_000), "test": range(11_000, 12_000)}
"""Which digits of the file a split has."""


class Digits:
    """One split, each digit in a pose of its own."""

    def __init__(
        self, split: Literal["train", "val", "test"], *, image_hw: tuple[int, int], seed: int = 0, epoch: int = 0
    ) -> None:
        self.split = split
        self.image_hw = image_hw
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(_PART[self.split])

    @property
    def fingerprint(self) -> str:
        """All that the images depend on."""
        return f"digits of MNIST {self.split} {self.image_hw} {self.seed}"

    def redrawn(self, epoch: int) -> "Digits":
        """The same digits, each in another pose among other clutter."""
        return Digits(self.split, image_hw=self.image_hw, seed=self.seed, epoch=epoch)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        number = _PART[self.split][index]
        return draw_digit(number, self.image_hw, self._rng(number)), int(_load()[1][number])

    def pose(self, index: int) -> Pose:
        """Where the digit's 20 x 20 box is."""
        centre, side, angle = _posed(self.image_hw, self._rng(_PART[self.split][index]))
        return pose_from_box(centre, (side, side), -np.rad2deg(angle), self.image_hw)

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, self.epoch])


def draw_digit(number: int, image_hw: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Draw digit `number` with a random pose among clutter, (H, W, 3) uint8 RGB."""
    rasters, _ = _load()
    centre, side, angle = _posed(image_hw, rng)
    canvas = _paste(rasters[number], image_hw, centre, side, angle)
    for other in rng.integers(len(rasters), size=_CLUTTER):
        top, left = rng.integers(RASTER - _CLUTTER_CELLS + 1, size=2)
        fragment = rasters[other][top : top + _CLUTTER_CELLS, left : left + _CLUTTER_CELLS]
        cell = min(image_hw) * _DIGIT_SIDE / RASTER
        piece = _paste(fragment, image_hw, _place(image_hw, rng, 0.5), cell * _CLUTTER_CELLS, rng.uniform(0, 2 * np.pi))
        canvas = ImageChops.lighter(canvas, piece)
    return np.asarray(canvas.convert("RGB"))


def unpack(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Two pixels a byte, the left one in the high four bits, (N, 20, 10) -> gray levels 0..15, (N, 20, 20)."""
    return np.stack([packed >> 4, packed & 15], axis=-1).reshape(*packed.shape[:2], -1)


def _posed(image_hw: tuple[int, int], rng: np.random.Generator) -> tuple[tuple[float, float], float, float]:
    """The first that is drawn of an image: the digit's centre (x, y) and side in pixels, and its clockwise turn."""
    angle = np.deg2rad(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    side = min(image_hw) * _DIGIT_SIDE * rng.uniform(*SCALE)
    return _place(image_hw, rng, SHIFT), side, angle


def _place(image_hw: tuple[int, int], rng: np.random.Generator, shift: float) -> tuple[float, float]:
    """A centre (x, y) in pixels, at most `shift` of the canvas away from its middle."""
    height, width = image_hw
    return float(width * (0.5 + rng.uniform(-shift, shift))), float(height * (0.5 + rng.uniform(-shift, shift)))


def _paste(
    raster: npt.NDArray[np.uint8], image_hw: tuple[int, int], centre: tuple[float, float], side: float, angle: float
) -> Image.Image:
    """Draw a square raster of gray levels 0..15 on black, `side` pixels wide, turned clockwise around `centre`."""
    cells = raster.shape[0]
    padded = np.zeros((cells + 4, cells + 4), np.uint8)
    padded[2:-2, 2:-2] = raster * np.uint8(17)
    step = cells / side  # raster cells per canvas pixel
    cos, sin = step * np.cos(angle), step * np.sin(angle)
    middle = cells / 2 + 2
    x, y = centre
    matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    size = (image_hw[1], image_hw[0])
    return Image.fromarray(padded).transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def digit_rasters(split: Literal["train", "val", "test"]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the digits of a split, (N, 20, 20) with gray levels 0..15, and their labels (N,)."""
    rasters, labels = _load()
    part = _PART[split]
    return rasters[part.start : part.stop], labels[part.start : part.stop]


@cache
def _load() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Rasters (12000, 20, 20) with levels 0..15, and labels (12000,)."""
    with (files("lstn.data") / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return unpack(archive["images"]), archive["labels"]
