"""Fonts for class names: what the installed ones can draw, and a number where none can."""

from collections.abc import Iterable, Sequence

from matplotlib.font_manager import FontManager, fontManager
from matplotlib.ft2font import FT2Font

_FIRST = "DejaVu Sans"
"""Comes with matplotlib, for Latin, Greek, Cyrillic, Arabic and more."""

_REGULAR = 400
_BOXES = "Last Resort"
"""Draws any character, as a box."""


def drawable(names: Sequence[str], fonts: FontManager = fontManager) -> tuple[list[str], list[str]]:
    """Return the names as they can be drawn, and the font families to draw them with, for matplotlib to look through.

    A name with a character that no installed font has becomes the number of its class, from 0, such as `#7`: empty
    boxes would look alike.
    """
    missing = {ord(character) for name in names for character in name}
    families: list[str] = []
    for family, path in _files(fonts):
        if families and not missing:
            break
        if found := missing & FT2Font(path).get_charmap().keys():
            missing -= found
            families.append(family)
    shown = [f"#{number}" if missing & set(map(ord, name)) else name for number, name in enumerate(names)]
    return shown, families or [_FIRST]


def _files(fonts: FontManager) -> Iterable[tuple[str, str]]:
    """Yield each upright family and its most regular file, ours first."""
    upright = [font for font in fonts.ttflist if font.style == "normal" and not font.name.startswith(_BOXES)]
    regular: dict[str, str] = {}
    for font in sorted(upright, key=lambda font: (font.name != _FIRST, font.name, font.weight != _REGULAR)):
        regular.setdefault(font.name, font.fname)
    return regular.items()
