"""Framing: how a photo of any shape becomes an input of one size, and where in the input it then is."""

from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.contract import Contract, Fit

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

BLACK: Colour = (0, 0, 0)

_Affine: TypeAlias = npt.NDArray[np.float32]
"""(2, 3): x and y, from -1 to 1 over a picture, of a point (u, v, 1) of a crop."""


@dataclass(frozen=True, slots=True)
class PhotoPlace:
    """Where a photo is in an input: the middle of the photo fills a rectangle of the input.

    shown:    the share of the photo's width and of its height that is there, (across, down), 0..1
    rim:      left, top, right and bottom of the rectangle, in pixels of the input
    image_hw: height and width of the input
    """

    shown: tuple[float, float]
    rim: tuple[int, int, int, int]
    image_hw: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the rectangle, in pixels of the input."""
        left, top, right, bottom = self.rim
        return right - left, bottom - top

    @property
    def whole_size(self) -> tuple[int, int]:
        """Width and height that all of the photo would have at this scale, rounded up."""
        across, down = (ceil(side / share - 1e-6) for side, share in zip(self.size, self.shown, strict=True))
        return across, down

    def cut(
        self, photo: Image.Image, ends: tuple[float, float] | None = None, *, sideways: bool = False
    ) -> Image.Image:
        """Return the part of the photo that is shown, at the rectangle's size.

        ends:     width and height of the photo, where the image has a part of a pixel more
        sideways: the photo is stored with rows and columns exchanged, and the part is too
        """
        size, shown = (self.size[::-1], self.shown[::-1]) if sideways else (self.size, self.shown)
        width, height = photo.size if ends is None else ends
        left, top = ((1 - share) / 2 for share in shown)
        box = (left * width, top * height, (1 - left) * width, (1 - top) * height)
        return photo.resize(size, Image.Resampling.BILINEAR, box=box)

    def laid(self, part: Image.Image, fill: Colour) -> Image.Image:
        """Return the input with this part of a photo in its rectangle, and one colour around it."""
        height, width = self.image_hw
        if part.size == (width, height):
            return part
        whole = Image.new("RGB", (width, height), fill)
        whole.paste(part, self.rim[:2])
        return whole

    def to_input(self, theta: _Affine) -> _Affine:
        """Return the theta that reads from the input what `theta` (2, 3) reads from the photo."""
        scale, shift = self._scale_and_shift()
        moved = theta * scale[:, None]
        moved[:, 2] += shift
        return moved.astype(np.float32)

    def _scale_and_shift(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Photo -> input, both from -1 to 1, is x -> scale * x + shift, for x and for y: two arrays (2,)."""
        first, last, sides = (np.array(each, np.float64) for each in (self.rim[:2], self.rim[2:], self.image_hw[::-1]))
        return (last - first) / sides / self.shown, (first + last) / sides - 1


def place_of(photo_hw: tuple[int, int], image_hw: tuple[int, int], fit: Fit) -> PhotoPlace:
    """Return where a photo of this height and width is in an input, by a fit.

    Letterboxed, its shorter side is rounded to a pixel, and an odd row or column of padding is at the bottom or right.
    """
    (high, wide), (height, width) = photo_hw, image_hw
    flatter = wide * height >= high * width  # than the input, in its shape
    if fit is Fit.STRETCH:
        return PhotoPlace((1.0, 1.0), (0, 0, width, height), image_hw)
    if fit is Fit.CENTRE:
        shown = ((width * high) / (height * wide), 1.0) if flatter else (1.0, (height * wide) / (width * high))
        return PhotoPlace(shown, (0, 0, width, height), image_hw)
    if flatter:
        inner_width, inner_height = width, max(1, (2 * high * width + wide) // (2 * wide))
    else:
        inner_width, inner_height = max(1, (2 * wide * height + high) // (2 * high)), height
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    return PhotoPlace((1.0, 1.0), (left, top, left + inner_width, top + inner_height), image_hw)


@dataclass(frozen=True, slots=True)
class Framing:
    """How a model wants its photos.

    fit:  stretched, letterboxed or cut out of the middle
    fill: what is around a letterboxed photo
    """

    fit: Fit = Fit.STRETCH
    fill: Colour = BLACK

    def place(self, photo_hw: tuple[int, int], image_hw: tuple[int, int]) -> PhotoPlace:
        """Return where a photo of this height and width is in an input."""
        return place_of(photo_hw, image_hw, self.fit)


STRETCHED = Framing()


def framing_of(contract: Contract) -> Framing:
    """Return how the model of a contract wants its photos: around them is what its sampler answers outside of them."""
    return Framing(contract.fit, outside_of(contract.mean))


def outside_of(mean: tuple[float, float, float]) -> Colour:
    """Return the colour that a backbone gets outside of the picture, where a contract has `mean`, each 0..1.

    The sampler answers zero there, and it samples the normalised picture, in which the mean is zero.
    """
    red, green, blue = (min(255, max(0, round(255 * value))) for value in mean)
    return red, green, blue
