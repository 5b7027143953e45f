"""Image files -> pixels. The one decode function that training, calibration and every runtime share."""

import io
import warnings
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from lstn.errors import ImageError

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) or (N, H, W, 3), uint8, RGB."""

MAX_PIXELS = 100_000_000
"""Width x height of the largest image that is decoded: 300 MB as RGB."""

MAX_BYTES = 256 << 20
"""Size of the largest image file that is read, in bytes."""

# Our own limit is checked before anything is decoded, so Pillow's warning about large images says nothing new.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

_REFUSED = frozenset(
    {
        "EPS",  # a program, which Ghostscript would run
        "IPTC",  # an envelope: its inner file would be opened with every plugin, EPS too, whatever its size
        "BUFR",  # Pillow only names these five, and cannot decode them
        "GRIB",
        "HDF5",
        "MPEG",
        "WMF",
    }
)


def readable_suffixes() -> frozenset[str]:
    """Return the file suffixes of the images that `decode` reads, in lower case with their dot: `.jpg`, `.jp2`, …

    The list is Pillow's own, so a plugin that another package registered counts. A file named by itself may have any
    suffix: its contents decide.
    """
    formats = _formats()  # imports every plugin, each of which registers its suffixes
    return frozenset(suffix.lower() for suffix, name in Image.EXTENSION.items() if name in formats)


def decode(source: Path | bytes, image_hw: tuple[int, int], *, name: str = "") -> Pixels:
    """Decode an image file, or the bytes of one, to (H, W, 3) uint8 RGB.

    EXIF rotation is applied, alpha composited on black, 16-bit gray scaled to 8 bits, and the first frame of an
    animation taken; the image is then resized to (H, W) with an antialiased bilinear filter, whatever its shape.

    `name` stands for the source in errors; a path names itself.

    Raises:
        ImageError: the file can't be read, is no image, is damaged, or has more than MAX_PIXELS pixels.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    data = _read(source, name) if isinstance(source, Path) else source
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"{name}: {width} x {height} pixels, more than the limit of {MAX_PIXELS // 10**6} million"
                )
            upright = ImageOps.exif_transpose(image)
            resized = _rgb(upright, name).resize((image_hw[1], image_hw[0]), Image.Resampling.BILINEAR)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more pixels than the limit of {MAX_PIXELS // 10**6} million") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image" if data else f"{name}: the file is empty") from error
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged files, SyntaxError among them
        raise ImageError(f"{name}: damaged image ({error})") from error
    return np.asarray(resized)


def _read(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: larger than {MAX_BYTES >> 20} MiB")
    return data


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this Pillow decodes by itself, never with a program."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _REFUSED)


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"{name}: 32-bit pixels; convert it to 8 or 16 bits a channel")
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels; convert it to 8 or 16 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    return image.convert("RGB")
