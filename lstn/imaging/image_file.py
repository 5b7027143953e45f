"""The bytes of an image file without the metadata that its pixels do not need.

Cameras, scanners and editors write a lot of wrong metadata, and Pillow refuses a file for some of it (a text chunk of
2 MiB, a physical size that is too short, an index of previews that is damaged). Browsers and libjpeg skip it, and so
does lstn: JPEG and PNG files lose it before Pillow sees them. What stays is what makes the pixels, and the EXIF block,
which says how the picture is turned.
"""

import struct
import zlib
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_IHDR_ENDS = 25
"""The byte of a PNG that names its colours, if its header comes first, as it must."""

_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})
"""Chunks of the PNG specification, third edition, that make the default picture and turn it."""

_JPEG = b"\xff\xd8"
_EOI = b"\xff\xd9"
_SOS, _COM, _APP0, _APP15 = 0xDA, 0xFE, 0xE0, 0xEF
_KEPT = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0\0", 6), 0xEE: (b"Adobe", 12)}
"""Marker -> how the segment of metadata starts that is kept, and its least number of bytes."""

_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length: TEM and the restarts (ITU T.81, table B.1)."""


def without_metadata(data: bytes) -> bytes:
    """Return an image file with the same pixels and orientation, and without most of its metadata.

    JPEG and PNG are shortened; files of other formats, and whatever follows damage, come back as they are.
    """
    if data.startswith(_PNG):
        return b"".join(_png_parts(data))
    if data.startswith(_JPEG):
        return b"".join(_jpeg_parts(data))
    return data


def ended(data: bytes) -> bytes:
    """Return a JPEG with an end marker behind its last byte: libjpeg then paints what is missing gray.

    Files of other formats come back as they are.
    """
    return data + _EOI if data.startswith(_JPEG) else data


def _png_parts(data: bytes) -> Iterator[memoryview | bytes]:
    view, at = memoryview(data), len(_PNG)
    yield view[:at]
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data) or not kind.isalpha():
            break
        if kind == b"tRNS" and at > _IHDR_ENDS and data[12:16] == b"IHDR":  # else the decoder refuses it
            yield _transparency(data[at + 8 : at + 8 + length], depth=data[24], colour=data[25])
        elif kind in _PNG_KEPT or kind[:1].isupper():  # an unknown critical chunk is for the decoder to refuse
            yield view[at:end]
        at = end
    yield view[at:]


def _transparency(key: bytes, *, depth: int, colour: int) -> bytes:
    """Return a tRNS chunk whose key is in the scale of Pillow's pixels, which have 8 bits, but 16 in gray ones.

    The file has it in its own scale, and Pillow does not convert it: gray of 2 or 4 bits, or RGB of 16.
    """
    if colour == 0 and depth in (2, 4) and len(key) == 2:
        key = struct.pack(">H", int.from_bytes(key, "big") % 2**depth * (255 // (2**depth - 1)))
    elif colour == 2 and depth == 16 and len(key) == 6:
        key = struct.pack(">3H", *key[::2])
    body = b"tRNS" + key
    return struct.pack(">I", len(key)) + body + struct.pack(">I", zlib.crc32(body))


def _jpeg_parts(data: bytes) -> Iterator[memoryview]:
    view, at = memoryview(data), len(_JPEG)
    yield view[:at]
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if marker == _SOS or length < 2 or end > len(data):
            break
        if _makes_pixels(marker, data[at + 4 : min(end, at + 18)]):
            yield view[at:end]
        at = end
    yield view[at:]


def _makes_pixels(marker: int, start: bytes) -> bool:
    """Whether a segment says something of the pixels or of the orientation, by its first 14 bytes.

    The colour space is named by JFIF and Adobe; libjpeg takes no notice of theirs that are shorter (jdmarker.c).
    """
    if marker in _KEPT:
        name, least = _KEPT[marker]
        return start.startswith(name) and len(start) >= least
    return not (_APP0 <= marker <= _APP15 or marker == _COM)
