"""Pictures of explanations: the photo with its quadrilateral, the crop, and each map over the photo."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lstn.explanation.explaining import Explanation, HeatMap
from lstn.images import Pixels
from lstn.warps.drawn_warp import draw_outline
from lstn.warps.warp import CropSampling, Theta, crop_image, warps_of

_FOR, _AGAINST = np.array([255, 149, 0]), np.array([0, 150, 255])
"""Orange: covering this lowers the label's probability, or moves the warp. Blue: it raises the probability."""

_CAPTION, _GAP = 20, 8
_FADED = 0.55


def explanation_picture(explanation: Explanation, sampling: CropSampling, *, side: int = 224) -> Image.Image:
    """Draw the photo with its quadrilaterals, the crops, and the maps in a row, each with its name above.

    sampling: `lstn.warps.warp.sampling_of` the model's contract
    side:     of the longer side of each, in pixels
    """
    pixels, theta = explanation.pixels, explanation.theta
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = _resized(pixels, size)
    warps = () if theta is None else tuple(warps_of(theta))
    panels = [("photo", _outlined(photo, warps, sampling))]
    for number, each in enumerate(warps, 1):
        name = "crop" if len(warps) == 1 else f"crop {number}"
        panels.append((name, _resized(crop_image(pixels, each, sampling), size)))
    for found in explanation.maps:
        name = f"{found.shows}: {found.largest}" if found.largest else found.shows
        panels.append((name, _outlined(heat_over(photo, found), warps, sampling)))
    return in_a_row(panels)


def heat_over(photo: Image.Image, found: HeatMap) -> Image.Image:
    """Colour a photo, gray and faded, by a map: orange where it is positive and blue where it is negative."""
    heat = found.heat
    grown = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(photo.size, Image.Resampling.BILINEAR))
    reach = max(float(np.abs(heat).max()), found.least) or 1.0
    strength = np.clip(np.abs(grown) / reach, 0, 1)[..., None]
    gray = np.asarray(photo.convert("L"), np.float64)[..., None] * _FADED
    colour = np.where(grown[..., None] > 0, _FOR, _AGAINST)
    return Image.fromarray(np.rint(gray * (1 - 0.8 * strength) + colour * 0.8 * strength).astype(np.uint8))


def in_a_row(panels: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Put pictures of one size next to each other, each below its name."""
    width, height = panels[0][1].size
    row = Image.new("RGB", (len(panels) * (width + _GAP) - _GAP, height + _CAPTION), "white")
    draw = ImageDraw.Draw(row)
    for number, (name, picture) in enumerate(panels):
        draw.text((number * (width + _GAP), 2), name, fill="#333333", font=_font())
        row.paste(picture, (number * (width + _GAP), _CAPTION))
    return row


def _outlined(picture: Image.Image, warps: Sequence[Theta], sampling: CropSampling) -> Image.Image:
    drawn = picture.copy()
    for each in warps:
        draw_outline(drawn, each, sampling.form)
    return drawn


def _resized(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(13)
