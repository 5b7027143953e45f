"""Warps in NumPy: the corners of a theta, drift, and the picture that shows it.

theta (N, 2, 3) maps output coordinates to input coordinates, both from -1 to 1 over the whole image
(Jaderberg et al. 2015, equation 1; `align_corners=False`, so -1 is the outer edge of the first pixel).
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from lstn.contract import IMAGENET_MEAN, Contract
from lstn.images import Pixels

Theta: TypeAlias = npt.NDArray[np.float32]
"""(N, 2, 3) or (2, 3) float32: the transformer's affine matrix."""

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

BLACK: Colour = (0, 0, 0)

_CORNERS = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], dtype=np.float64)


def corners_px(theta: Theta, image_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Corners of the sampled quadrilateral: (N, 2, 3) -> (N, 4, 2), x and y in pixels of the input."""
    height, width = image_hw
    unit = np.einsum("cj,nij->nci", _CORNERS, theta.astype(np.float64))
    return np.asarray((unit + 1) / 2 * np.array([width, height]))


def drift_px(theta: Theta, reference: Theta, image_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Drift: how far the corner that moved most lies from where `reference` has it, (N,), in pixels of the input."""
    moved = corners_px(theta, image_hw) - corners_px(reference, image_hw)
    return np.asarray(np.hypot(moved[..., 0], moved[..., 1]).max(axis=1))


def outside_of(mean: tuple[float, float, float]) -> Colour:
    """Return the colour that a backbone gets outside of the picture, where a contract has `mean`, each 0..1.

    The sampler answers zero there, and it samples the normalised picture, in which the mean is zero.
    """
    red, green, blue = (min(255, max(0, round(255 * value))) for value in mean)
    return red, green, blue


_USUAL = outside_of(IMAGENET_MEAN)


class CropSampling(NamedTuple):
    """How a model samples pictures. outside: the colour there; crop_hw: of what it makes, None: the picture's size."""

    outside: Colour
    crop_hw: tuple[int, int] | None = None


def sampling_of(contract: Contract) -> CropSampling:
    """Return how the model of a contract samples pictures."""
    return CropSampling(outside_of(contract.mean), contract.crop_hw)


def taps(side: int, of_crop: int) -> int:
    """Return how many points along an axis make a pixel of the crop: as many as keep them 4 pixels apart at most.

    So far apart they are at the identity, and 2 pixels where an object fills half of the picture, which is as much as
    bilinear sampling sees. Twice as many points take ONNX Runtime four times the sampler's time, and brought nothing:
    37.4 and 38.3 % right on digits of 0.18 to 0.5 of a picture's side after the same three epochs.
    """
    return max(1, math.ceil(side / (4 * of_crop)))


def crop(pixels: Pixels, theta: Theta, sampling: CropSampling) -> Pixels:
    """Return what the backbone gets of one image (H, W, 3) by theta (2, 3): (h, w, 3) uint8."""
    size = (pixels.shape[0], pixels.shape[1])
    hw = size if sampling.crop_hw is None else sampling.crop_hw
    down, across = (taps(side, of_crop) for side, of_crop in zip(size, hw, strict=True))
    fine = warp(pixels, theta, sampling.outside, (down * hw[0], across * hw[1]))
    if down == across == 1:
        return fine
    return np.asarray(Image.fromarray(fine).resize((hw[1], hw[0]), Image.Resampling.BOX))


def warp(pixels: Pixels, theta: Theta, outside: Colour = _USUAL, crop_hw: tuple[int, int] | None = None) -> Pixels:
    """Sample one image (H, W, 3) at theta (2, 3), bilinear, with one colour outside of it: (h, w, 3) uint8.

    outside: `outside_of` a contract's mean, for what its backbone sees; left out, that of a contract's usual mean
    crop_hw: h and w; None: those of the image
    """
    height, width = pixels.shape[:2]
    high, wide = (height, width) if crop_hw is None else crop_hw
    # Pillow wants output pixel -> input pixel; it samples at pixel centres, as `align_corners=False` does.
    to_unit = np.array([[2 / wide, 0, -1], [0, 2 / high, -1], [0, 0, 1]])
    to_pixels = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2]])
    if not np.isfinite(theta).all():
        return np.full((high, wide, 3), outside, np.uint8)
    coefficients = to_pixels @ np.vstack([theta.astype(np.float64), [0, 0, 1]]) @ to_unit
    # A border of that colour makes the edge fade as `padding_mode="zeros"` does; Pillow alone would cut it off hard.
    bordered = np.full((height + 2, width + 2, 3), outside, np.uint8)
    bordered[1:-1, 1:-1] = pixels
    padded = Image.fromarray(bordered)
    coefficients[:, 2] += 1
    size, data = (wide, high), coefficients.ravel().tolist()
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(padded.transform(size, Image.Transform.AFFINE, data, bilinear, fillcolor=outside))


def draw_warp(pixels: Pixels, theta: Theta, sampling: CropSampling, *, side: int = 224) -> Image.Image:
    """Draw the input with the sampled quadrilateral on it, beside what the backbone sees. Orange marks its top edge.

    pixels (H, W, 3) uint8, theta (2, 3) float32 -> an RGB picture of about 2 x `side` by `side`.
    sampling: `sampling_of` the model's contract
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.new("RGB", (2 * size[0] + 8, size[1]), "white")
    before = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    corners = corners_px(theta[None], (height, width))[0] * scale
    if np.isfinite(corners).all():
        points = [(float(x), float(y)) for x, y in np.clip(corners, -1e5, 1e5)]
        draw = ImageDraw.Draw(before)
        draw.line([*points, points[0]], fill="#00c2ff", width=2)
        draw.line(points[:2], fill="#ff9500", width=4)
    after = Image.fromarray(crop(pixels, theta, sampling)).resize(size, Image.Resampling.BICUBIC)
    picture.paste(before, (0, 0))
    picture.paste(after, (size[0] + 8, 0))
    return picture


def contact_sheet(pictures: list[Image.Image], *, columns: int = 4, gap: int = 8) -> Image.Image:
    """Lay pictures of one size out in rows."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet
