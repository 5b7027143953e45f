"""Backgrounds of scenes: a stock of pictures, drawn or photographed, and the piece of one that a scene shows."""

from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from lstn.data.scenes.clutter import draw_clutter
from lstn.data.scenes.picture_cache import PictureCache
from lstn.data.splits import SPLIT_NAMES, SplitName
from lstn.images import decode, shown_hw

ROOM = 1.25
"""The shorter side of a background's picture, as a share of the longer side of the scene."""

_LEAST_PIECE = 0.55
"""The side of the smallest piece that a scene shows, as a share of the largest that the picture has."""

DRAWN: dict[SplitName, int] = {"train": 200, "val": 20, "test": 20}
"""How many backgrounds are drawn for each split. A scene shows a piece of one, mirrored or turned by right angles."""

_DRAWN_SEED = 15
_KEPT_BYTES = 256 << 20
"""Memory for the pictures of one split, in each process that loads them."""

_GRAIN_SIDE, _GRAIN = 1024, 0.06
"""Side of the sheet of noise, a piece of which lies over each scene, and its weight."""


class Backgrounds(Protocol):
    """Pictures that show no object."""

    @property
    def turns(self) -> tuple[Image.Transpose | None, ...]:
        """What a picture may be changed by and still look like one."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def picture(self, number: int, side: int) -> Image.Image:
        """Return picture `number` in RGB, its shorter side of about `side` pixels."""

    @property
    def fingerprint(self) -> str:
        """Return what tells these pictures from others."""


class DrawnBackgrounds:
    """Clutter that is drawn, a stock for each split, which does not depend on the seed of a run."""

    turns: tuple[Image.Transpose | None, ...] = (None, *Image.Transpose)

    def __init__(self, split: SplitName) -> None:
        self._split = split
        self._kept = PictureCache(_KEPT_BYTES)

    def __len__(self) -> int:
        return DRAWN[self._split]

    def picture(self, number: int, side: int) -> Image.Image:
        """Return drawing `number`, square."""
        seed = [_DRAWN_SEED, SPLIT_NAMES.index(self._split), number]
        return self._kept.get((number, side), lambda: draw_clutter(side, np.random.default_rng(seed)))

    @property
    def fingerprint(self) -> str:
        """The split alone decides."""
        return f"drawn {_DRAWN_SEED} {self._split} {len(self)}"


class PhotoBackgrounds:
    """Image files.

    fingerprint: a hash of what is in them, in their order
    """

    turns: tuple[Image.Transpose | None, ...] = (None, Image.Transpose.FLIP_LEFT_RIGHT)

    def __init__(self, files: tuple[Path, ...], fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._files = files
        self._kept = PictureCache(_KEPT_BYTES)

    def __len__(self) -> int:
        return len(self._files)

    def picture(self, number: int, side: int) -> Image.Image:
        """Return photograph `number` in its own shape. A small one is not enlarged.

        Raises:
            ImageError: the file can't be read any more.
        """
        return self._kept.get((number, side), lambda: _read(self._files[number], side))


def _read(path: Path, shorter: int) -> Image.Image:
    """Decode a photograph in its own shape, its shorter side of `shorter` pixels at most."""
    height, width = shown_hw(path)
    share = min(1.0, shorter / min(height, width))
    return Image.fromarray(decode(path, (max(1, round(height * share)), max(1, round(width * share)))))


def background(stock: Backgrounds, image_hw: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return a random piece of a random picture of the stock, as an RGB picture of (H, W)."""
    height, width = image_hw
    picture = stock.picture(int(rng.integers(len(stock))), round(ROOM * max(image_hw)))
    turn = stock.turns[rng.integers(len(stock.turns))]
    if turn is not None:
        picture = picture.transpose(turn)
    share = rng.uniform(_LEAST_PIECE, 1) * min(picture.width / width, picture.height / height)
    wide, high = share * width, share * height
    left, top = (float(place) for place in rng.random(2) * (picture.width - wide, picture.height - high))
    box = (left, top, min(left + wide, picture.width), min(top + high, picture.height))
    return picture.resize((width, height), Image.Resampling.BILINEAR, box=box)


def with_grain(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture under the noise of a sensor, which what was pasted into it then shares."""
    wide, high = (min(side, _GRAIN_SIDE) for side in picture.size)
    left, top = int(rng.integers(_GRAIN_SIDE - wide + 1)), int(rng.integers(_GRAIN_SIDE - high + 1))
    piece = _grain().crop((left, top, left + wide, top + high))
    if piece.size != picture.size:
        piece = piece.resize(picture.size, Image.Resampling.NEAREST)
    return Image.blend(picture, piece, _GRAIN)


@cache
def _grain() -> Image.Image:
    values = np.random.default_rng(_DRAWN_SEED).integers(0, 86, (3, _GRAIN_SIDE, _GRAIN_SIDE)).sum(axis=0)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")
