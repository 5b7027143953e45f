"""Pictures of what a detector found: each object's outline with its class, on the image that the model saw."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from lstn.contract import ThetaForm
from lstn.detection.suppression import Detection
from lstn.images import Pixels
from lstn.warps.drawn_warp import draw_outline, outline_px

_LETTER_PX = 13
_AROUND_PX = 2


def draw_objects(
    pixels: Pixels, found: Sequence[Detection], labels: tuple[str, ...], *, side: int = 224
) -> Image.Image:
    """Draw outlines with class and score on an image (H, W, 3) uint8, as an RGB picture whose longer side is `side`.

    Orange marks the top edge of what is upright in the crop. A class whose name the font lacks is shown by its number;
    in several words together, a sign that it lacks is a question mark.
    """
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    for each in reversed(found):  # the best on top
        draw_outline(picture, each.theta, ThetaForm.AFFINE)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_LETTER_PX)
    for each in reversed(found):
        corners = outline_px(each.theta, (picture.height, picture.width))[:, 0]
        text = f"{_shown(each.label, labels)} {each.score:.0%}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        wide, high = right - left + 2 * _AROUND_PX, bottom - top + 2 * _AROUND_PX
        x = max(0.0, min(float(corners[:, 0].min()), picture.width - wide))  # of what is too wide the beginning
        y = min(max(0.0, float(corners[:, 1].min()) - high), picture.height - high)
        draw.rectangle((x, y, x + wide, y + high), fill="black")
        draw.text((x + _AROUND_PX - left, y + _AROUND_PX - top), text, fill="white", font=font)
    return picture


def _shown(label: str, labels: tuple[str, ...]) -> str:
    if label.isascii():
        return label
    return f"class {labels.index(label)}" if label in labels else label.encode("ascii", "replace").decode()
