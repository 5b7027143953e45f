"""Pillow's modes -> RGB: the ways in which a file may store a colour.

Where Pillow decodes a rare way wrongly, or nothing says what the numbers mean, the image is refused: a wrong picture
would be answered like a right one.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLES = 258, 259, 262, 284, 339
"""Tags of TIFF 6.0: BitsPerSample, Compression, PhotometricInterpretation, PlanarConfiguration, SampleFormat."""

_CODESTREAM = b"\xff\x4f\xff\x51"
"""How the pixels of a JPEG 2000 file start: SOC and SIZ (ITU T.800, annex A)."""


class UnsurePixels(ValueError):  # noqa: N818 - it says what is found
    """Pixels that Pillow decodes wrongly, or whose range nothing says; the message says which."""


def rgb(image: Image.Image, data: bytes) -> Image.Image:
    """Return a loaded image as RGB: alpha composited on black, more than 8 bits of gray scaled to 8.

    `data` is the file that it was loaded from.

    Raises:
        UnsurePixels: as it says, such as floating-point ones.
    """
    if reason := _unsure(image, data):
        raise UnsurePixels(reason)
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        return Image.fromarray(_gray(image)).convert("RGB")
    if image.mode == "La":  # gray with premultiplied alpha
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _unsure(image: Image.Image, data: bytes) -> str:
    """Say what in the file keeps its pixels from being known; nothing if they are."""
    if image.mode == "F":
        return "floating-point pixels"
    if image.mode == "LAB":
        return "CIE L*a*b* pixels"
    if _tag(image, _SAMPLES, 1) == 2:
        return "signed pixels"
    if _tag(image, _BITS, 8) == 32:
        return "32-bit pixels"
    if _tag(image, _BITS, 8) == 16 and _tag(image, _PLANES, 1) == 2 and _tag(image, _COMPRESSION, 1) == 1:
        return "16-bit colours stored plane by plane"  # Pillow reads their bytes as if they were 8-bit ones
    if image.format == "JPEG2000" and image.mode not in _SIXTEEN_BIT and _jpeg2000_bits(data) > 8:
        return "JPEG 2000 colours of more than 8 bits"  # Pillow 13 rounds the brightest up to 256, which is 0
    return ""


def _jpeg2000_bits(data: bytes) -> int:
    """Return the bits of a JPEG 2000 file's deepest channel; 8 where its header can't be found."""
    start = data.find(_CODESTREAM) + len(_CODESTREAM)
    channels = int.from_bytes(data[start + 36 : start + 38], "big")
    depths = data[start + 38 : start + 38 + 3 * channels : 3]
    return max((depth & 0x7F) + 1 for depth in depths) if start >= len(_CODESTREAM) and depths else 8


def _gray(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W) integers of up to 16 bits -> (H, W) uint8, rounded."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnsurePixels("32-bit pixels")
    top = 4095 if _tag(image, _BITS, 16) == 12 else 65535
    gray = ((values.astype(np.uint32) * 255 + top // 2) // top).clip(max=255).astype(np.uint8)
    if _tag(image, _PHOTOMETRIC, 1) == 0:  # WhiteIsZero, which Pillow inverts in 8 bits alone
        gray = 255 - gray
    if isinstance(key := image.info.get("transparency"), int):  # PNG's one transparent gray, in 16 bits
        gray[values == key] = 0
    return gray


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """Return the first value of a TIFF tag; `default` where it is absent, or the file is not a TIFF."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)
