"""Image files -> pixels. The one decode function that training, calibration and every runtime share."""

import errno
import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from lstn.contract import Contract
from lstn.errors import ImageError, MissingExtra, UsageError
from lstn.imaging.framing import STRETCHED, Framing, PhotoPlace, framing_of
from lstn.imaging.heif import HEIF_SUFFIXES, can_read_heif, is_heif, let_pillow_read_heif
from lstn.imaging.image_file import ended, without_metadata
from lstn.imaging.image_mode import UnsurePixels, rgb

# What is wrong with an image stands in its error. What Pillow logs besides is for whoever has set up logging.
logging.getLogger("PIL").addHandler(logging.NullHandler())

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) or (N, H, W, 3), uint8, RGB."""

Picture: TypeAlias = str | Path | bytes | Pixels
"""One image as a program has it: a file, the bytes of a file, or an array (height, width, 3) uint8 RGB of any size."""

MAX_PIXELS = 100_000_000
"""Width x height of the largest image that is decoded unless a user allows more: 300 MB as RGB."""

MAX_BYTES = 256 << 20
"""Size of the largest image file that is read, in bytes."""

# Pillow warns of odd metadata, which decides nothing here, and of large images, for which there is MAX_PIXELS.
warnings.filterwarnings("ignore", module=r"PIL\.")

_COVER = 2
"""A JPEG is decoded at the smallest scale that still covers this many times the size asked for."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation (EXIF 2.32, tag 274)."""

_NEVER_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_TRANSPOSED = 5
"""From this orientation on, an image is stored with width and height exchanged."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Which images are read that are refused otherwise.

    max_pixels: width x height of the largest one
    truncated:  whether a JPEG that ends early is read, with gray for what is missing
    """

    max_pixels: int = MAX_PIXELS
    truncated: bool = False


USUAL = DecodeLimits()


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

    The list is Pillow's own, so a plugin that another package registered counts, and pillow-heif where it is installed.
    A file named by itself may have any suffix: its contents decide.
    """
    formats = _formats()  # imports every plugin, each of which registers its suffixes
    found = frozenset(suffix.lower() for suffix, name in Image.EXTENSION.items() if name in formats)
    return found | HEIF_SUFFIXES if can_read_heif() else found


def decode(
    source: Path | bytes,
    image_hw: tuple[int, int],
    *,
    name: str = "",
    limits: DecodeLimits = USUAL,
    framing: Framing = STRETCHED,
) -> Pixels:
    """Decode an image file, or the bytes of one, to (H, W, 3) uint8 RGB.

    EXIF rotation is applied, alpha composited on black, 16-bit gray scaled to 8 bits, and the first frame of an
    animation taken; the image is then resized with an antialiased bilinear filter, and becomes (H, W) by its framing.
    A JPEG is decoded at a smaller scale where that still covers what `_COVER` says: a photo of 12 million pixels then
    takes a fifth of the time (`benchmarks/decode.py` measures it). Other metadata than the orientation is not read.

    `name` stands for the source in errors; a path names itself.

    Raises:
        ImageError: the file can't be read, is not an image, is damaged, or has more pixels than `limits` allows.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    data = without_metadata(_read(source, name) if isinstance(source, Path) else source)
    if limits.truncated:
        data = ended(data)
    with _opened(data, limits, name) as image:
        return _fitted(image, data, image_hw, limits, framing, name)


def shown_hw(path: Path) -> tuple[int, int]:
    """Return height and width of an image file as it is shown, turned as its EXIF block says, in pixels.

    Raises:
        ImageError: the file can't be read, or is not an image.
    """
    data = without_metadata(_read(path, str(path)))
    with _opened(data, USUAL, str(path)) as image:
        if image.format == "TIFF":  # turns itself when it is loaded, and its orientation is gone afterwards
            image.load()
        return _upright_hw(image)


@contextmanager
def _opened(data: bytes, limits: DecodeLimits, name: str) -> Iterator[Image.Image]:
    """Open an image; what Pillow finds wrong with it while it is open ends in an ImageError."""
    _let_pillow_open(limits.max_pixels)
    try:
        if is_heif(data):
            let_pillow_read_heif()
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            yield image
    except ImageError:
        raise
    except MissingExtra as error:
        raise ImageError(f"{name}: a HEIC image, but {error.message}; {error.hint}") from error
    except UnsurePixels as error:
        raise ImageError(f"{name}: {error}; convert it to 8 bits a channel") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more pixels than {_limit(limits)}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_unidentified(data)}") from error
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged files, SyntaxError among them
        raise ImageError(f"{name}: damaged image ({error})") from error


def _fitted(
    image: Image.Image, data: bytes, image_hw: tuple[int, int], limits: DecodeLimits, framing: Framing, name: str
) -> Pixels:
    """Decode an opened image, turn it upright and frame it: (H, W, 3) uint8 RGB."""
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(f"{name}: {width} x {height} pixels, more than {_limit(limits)}")
    jpeg = image.format == "JPEG"
    if not jpeg:  # a TIFF turns itself here; and a PNG's orientation is behind its pixels, whose damage is told here
        image.load()
    place = framing.place(_upright_hw(image), image_hw)
    ends = _draft(image, place) if jpeg else None
    image.load()
    turn, pixels = _TURNS.get(_orientation(image)), rgb(image, data)
    if turn is None or ends is None:  # upright first, as a browser has it: rows and columns round one after the other
        part = place.cut(pixels if turn is None else pixels.transpose(turn), ends)
    else:
        part = place.cut(pixels, ends, sideways=_on_its_side(image)).transpose(turn)
    return np.asarray(place.laid(part, framing.fill))


def pixels_of(picture: Picture, contract: Contract) -> Pixels:
    """Return a file, its bytes, or an array (height, width, 3) uint8 RGB as the input (H, W, 3) of a model.

    Raises:
        ImageError: the file can't be decoded.
        UsageError: neither a file nor bytes nor such an array.
    """
    if isinstance(picture, str) and "://" in picture and not Path(picture).exists():
        raise UsageError(f"{picture}: a URL; expected a file", hint="download it first; lstn infer takes URLs")
    if isinstance(picture, (str, Path)):
        picture = Path(picture)
    framing = framing_of(contract)
    if isinstance(picture, (Path, bytes)):
        return decode(picture, contract.image_hw, framing=framing)
    if not isinstance(picture, np.ndarray):
        raise UsageError(
            f"an image of type {type(picture).__name__}; expected a path, bytes or an array (height, width, 3) uint8",
            hint="a list of such images is fine too; of a PIL image, take np.asarray(image.convert('RGB'))",
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        hint = "pass several images as a list: list(pixels)" if picture.ndim == 4 else "rows of RGB pixels, 0 to 255"
        raise UsageError(f"an image is {picture.dtype} {picture.shape}; expected uint8 (height, width, 3)", hint=hint)
    place = framing.place((picture.shape[0], picture.shape[1]), contract.image_hw)
    return np.asarray(place.laid(place.cut(Image.fromarray(picture)), framing.fill))


def _limit(limits: DecodeLimits) -> str:
    return f"the limit of {limits.max_pixels / 1e6:g} million"


def _let_pillow_open(pixels: int) -> None:
    """Raise Pillow's own limit, which holds for the whole process, to what a user allows; never lower it."""
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, pixels if pixels > MAX_PIXELS else 0)


def _unidentified(data: bytes) -> str:
    if data.startswith(_TIFF):
        return "a TIFF of a rare kind, which is not read; convert it to 8 bits a channel"
    return "not an image" if data else "the file is empty"


def _draft(image: Image.Image, place: PhotoPlace) -> tuple[float, float] | None:
    """Have a JPEG decoded at the smallest scale that will do; return the width and height of the picture then, if so.

    A side that the scale doesn't divide gets one pixel more, of which only a part is picture.
    """
    width, height = place.whole_size[::-1] if _on_its_side(image) else place.whole_size
    drafted = image.draft(None, (_COVER * width, _COVER * height))
    return None if drafted is None else drafted[1][2:]


def _upright_hw(image: Image.Image) -> tuple[int, int]:
    """Height and width that the image has when it is turned upright."""
    width, height = image.size
    return (width, height) if _on_its_side(image) else (height, width)


def _on_its_side(image: Image.Image) -> bool:
    """Whether rows and columns are exchanged when the image is turned upright."""
    return _orientation(image) >= _TRANSPOSED


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent or can't be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # of damaged metadata, like that of damaged pixels, anything may come
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _read(path: Path, name: str) -> bytes:
    try:
        with os.fdopen(_open_regular(path), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # of a zero byte in a name, the latter
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_BYTES:
        raise ImageError(f"{name}: larger than {MAX_BYTES >> 20} MiB")
    return data


def _open_regular(path: Path) -> int:
    """Open a regular file: a pipe would wait for a writer, and a device never end or do something."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return os.open(path, os.O_RDONLY | _NEVER_WAIT)  # should it be a pipe by now


def _formats() -> tuple[str, ...]:
    """Return the formats that this Pillow decodes by itself, never with a program."""
    Image.init()  # does something the first time alone
    return tuple(name for name in Image.OPEN if name not in _REFUSED)
