"""Pictures of a warp: the outline of what is sampled on the image, and beside it the crop."""

import numpy as np
from PIL import Image, ImageDraw

from lstn.contract import ThetaForm
from lstn.images import Pixels
from lstn.warps.spline import Positions
from lstn.warps.warp import CORNERS, CropSampling, Theta, crop_image, disc_reach, in_pixels, sampled, warps_of

_EDGE_POINTS = 16
"""By which an edge that isn't straight is drawn."""


def outline_px(theta: Theta, image_hw: tuple[int, int], form: ThetaForm = ThetaForm.AFFINE) -> Positions:
    """Return the four edges of what one warp samples, (4, M, 2), in pixels of the input: top, right, bottom, left.

    Of a log-polar crop they are the quarters of the disc's rim, from the left, where the crop's own edges meet.
    """
    if form is ThetaForm.POLAR:
        angle = np.pi * np.linspace(-1, 1, 4 * _EDGE_POINTS + 1)
        rim = np.column_stack([np.cos(angle), np.sin(angle)]) * disc_reach(image_hw)
        edges = np.stack([rim[start : start + _EDGE_POINTS + 1] for start in range(0, 4 * _EDGE_POINTS, _EDGE_POINTS)])
    else:
        along = np.linspace(0, 1, _EDGE_POINTS + 1 if theta.shape[-1] == 2 else 2)[:, None]
        edges = np.stack([a + (b - a) * along for a, b in zip(CORNERS, np.roll(CORNERS, -1, 0), strict=True)])
    return in_pixels(sampled(theta[None], edges.reshape(-1, 2)), image_hw).reshape(edges.shape)


def draw_warp(pixels: Pixels, theta: Theta, sampling: CropSampling, *, side: int = 224) -> Image.Image:
    """Draw the input with the outline of what is sampled, beside what the backbone sees. Orange marks its top edge.

    pixels (H, W, 3) uint8, theta float32 -> an RGB picture of about 2 x `side` by `side`, wider with several warps.
    sampling: `sampling_of` the model's contract
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    warps = warps_of(theta)
    picture = Image.new("RGB", ((1 + len(warps)) * (size[0] + 8) - 8, size[1]), "white")
    before = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    for place, each in enumerate(warps, start=1):
        draw_outline(before, each, sampling.form)
        after = Image.fromarray(crop_image(pixels, each, sampling)).resize(size, Image.Resampling.BICUBIC)
        picture.paste(after, (place * (size[0] + 8), 0))
    picture.paste(before, (0, 0))
    return picture


def draw_outline(picture: Image.Image, theta: Theta, form: ThetaForm) -> None:
    """Draw the outline of what one warp samples on a picture of any size, its top edge wide."""
    edges = outline_px(theta, (picture.height, picture.width), form)
    if not np.isfinite(edges).all():
        return
    lines = [[(float(x), float(y)) for x, y in edge] for edge in np.clip(edges, -1e5, 1e5)]
    draw = ImageDraw.Draw(picture)
    draw.line([point for line in lines for point in line], fill="#00c2ff", width=2)
    draw.line(lines[0], fill="#ff9500", width=4)


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
