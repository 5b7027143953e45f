"""HEIC and HEIF pictures, as telephones take them: pillow-heif decodes them, once the first one is met.

Its libraries take a tenth of a second to load, so nothing imports them before.
"""

from functools import cache
from importlib.util import find_spec

from lstn.imports import require

HEIF_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})

_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
"""Of pictures and sequences coded by HEVC (ISO/IEC 23008-12, annex B); AVIF, which Pillow itself reads, has others."""

_MOST_BRANDS = 64


def is_heif(data: bytes) -> bool:
    """Whether a file's first box says that a picture in it is coded by HEVC."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MOST_BRANDS)
    return any(data[at : at + 4] in _BRANDS for at in (8, *range(16, end, 4)))


def can_read_heif() -> bool:
    """Whether pillow-heif is installed; it is not imported."""
    return find_spec("pillow_heif") is not None


@cache
def let_pillow_read_heif() -> None:
    """Register pillow-heif with Pillow, once.

    Raises:
        MissingExtra: it is not installed.
    """
    require("pillow_heif", extra="heic", package="pillow-heif").register_heif_opener()
