"""The embedded data set: 1,797 real handwritten digits, each lost somewhere on a larger canvas.

The digits are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, UCI Machine
Learning Repository, CC BY 4.0), 8 x 8 pixels with 17 gray levels, as scikit-learn ships them. Rotation, scale, place
and clutter are drawn from the seed, the digit's number and the epoch alone, so an image is the same on every machine.
"""

from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from lstn.images import Pixels

DIGIT_LABELS = tuple("0123456789")

DIGIT_MEAN = (0.0, 0.0, 0.0)
DIGIT_STD = (0.25, 0.25, 0.25)
"""Black must stay 0, because 0 is what the sampler reads outside of the image: ImageNet's mean would put a bright
frame around every crop."""

ROTATION_DEG = 60.0
SCALE = (0.7, 1.2)
SHIFT = 0.35
"""Largest rotation either way; range of scales; largest shift either way, as a share of the canvas."""

_DIGIT_SIDE = 0.45
"""Side of an unscaled digit, as a share of the canvas: the 28 of MNIST on 64 pixels."""

_CLUTTER = 1
_CLUTTER_CELLS = 2
"""How many fragments of other digits lie around, and their side in cells of the 8 x 8 raster."""

_PART = {"train": (0, 1, 2, 3), "val": (4,), "test": (5,)}
"""Which of every six digits of a class a split has."""

_POSES = {"train": 1, "val": 1, "test": 4}
"""How often a split shows each digit. The test's 296 alone would leave an accuracy uncertain by two points."""


class Digits:
    """One split: of every six digits of a class, four are for training, one for validation, one for the test."""

    def __init__(
        self, split: Literal["train", "val", "test"], *, image_hw: tuple[int, int], seed: int = 0, epoch: int = 0
    ) -> None:
        self.split = split
        self.image_hw = image_hw
        self.seed = seed
        self.epoch = epoch
        rank = _rank_in_class()
        self._numbers = [number for number in range(len(rank)) if rank[number] % 6 in _PART[split]]

    def __len__(self) -> int:
        return len(self._numbers) * _POSES[self.split]

    @property
    def fingerprint(self) -> str:
        """All that the images depend on."""
        return f"digits {self.split} {self.image_hw} {self.seed}"

    def redrawn(self, epoch: int) -> "Digits":
        """The same digits, each in another pose among other clutter."""
        return Digits(self.split, image_hw=self.image_hw, seed=self.seed, epoch=epoch)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        pose, position = divmod(range(len(self))[index], len(self._numbers))
        number = self._numbers[position]
        rng = np.random.default_rng([self.seed, number, self.epoch, pose])
        return draw(number, self.image_hw, rng), int(_load()[1][number])


def draw(number: int, image_hw: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Draw digit `number` with a random pose among clutter, (H, W, 3) uint8 RGB."""
    rasters, _ = _load()
    angle = np.deg2rad(rng.uniform(-ROTATION_DEG, ROTATION_DEG))
    side = min(image_hw) * _DIGIT_SIDE * rng.uniform(*SCALE)
    centre = _place(image_hw, rng, SHIFT)
    canvas = _paste(rasters[number], image_hw, centre, side, angle)
    for other in rng.integers(len(rasters), size=_CLUTTER):
        top, left = rng.integers(8 - _CLUTTER_CELLS + 1, size=2)
        fragment = rasters[other][top : top + _CLUTTER_CELLS, left : left + _CLUTTER_CELLS]
        cell = min(image_hw) * _DIGIT_SIDE / 8
        piece = _paste(fragment, image_hw, _place(image_hw, rng, 0.5), cell * _CLUTTER_CELLS, rng.uniform(0, 2 * np.pi))
        canvas = ImageChops.lighter(canvas, piece)
    return np.asarray(canvas.convert("RGB"))


def _place(image_hw: tuple[int, int], rng: np.random.Generator, shift: float) -> tuple[float, float]:
    """A centre (x, y) in pixels, at most `shift` of the canvas away from its middle."""
    height, width = image_hw
    return float(width * (0.5 + rng.uniform(-shift, shift))), float(height * (0.5 + rng.uniform(-shift, shift)))


def _paste(
    raster: npt.NDArray[np.uint8], image_hw: tuple[int, int], centre: tuple[float, float], side: float, angle: float
) -> Image.Image:
    """Draw a square raster of gray levels 0..16 on black: `side` pixels wide, turned by `angle`, around `centre`."""
    cells = raster.shape[0]
    padded = Image.fromarray(np.pad(raster * np.uint8(15), 2))
    step = cells / side  # raster cells per canvas pixel
    cos, sin = step * np.cos(angle), step * np.sin(angle)
    middle = cells / 2 + 2
    x, y = centre
    matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    size = (image_hw[1], image_hw[0])
    return padded.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


@cache
def _rank_in_class() -> list[int]:
    """How many of its class stand before each digit. The set cycles through its classes: a plain stride won't do."""
    _, labels = _load()
    return [int((labels[:number] == label).sum()) for number, label in enumerate(labels)]


@cache
def _load() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Rasters (1797, 8, 8) with levels 0..16, and labels (1797,)."""
    with (files("lstn.data") / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive["images"], archive["labels"]
