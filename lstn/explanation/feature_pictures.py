"""Pictures of feature maps: the patches that excite each most, and what in them does, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.images import Pixels

PICTURE = "features.png"

_ACROSS, _TILE, _GAP = 3, 40, 1
_COLUMNS, _BETWEEN = 4, 10


@dataclass(frozen=True, slots=True, eq=False)
class ExcitedPatch:
    """A part of a crop that one place of a feature map depends on.

    image:  number of the image
    value:  of the map there
    pixels: (h, w, 3) uint8, that part
    signal: (h, w, 3) float32, the deconvnet's reconstruction
    """

    image: int
    value: float
    pixels: Pixels
    signal: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMap:
    """A map of a layer, by its number, and the patches that excite it most, strongest first."""

    number: int
    patches: tuple[ExcitedPatch, ...]


def figures_of_features(layer: str, features: Sequence[FeatureMap], images: Sequence[str]) -> dict[str, Any]:
    """Return what JSON says of a layer: of each map the images that excite it, and its values there."""
    maps = [
        {
            "map": each.number,
            "images": [{"path": images[patch.image], "value": round(patch.value, 4)} for patch in each.patches],
        }
        for each in features
    ]
    return {"layer": layer, "picture": PICTURE, "maps": maps}


def feature_picture(feature: FeatureMap) -> Image.Image:
    """Draw one map: on the left its reconstructions, three a row, and on the right the patches (their figure 2)."""
    reach = max(float(np.abs(each.signal).max()) for each in feature.patches) or 1.0
    signals = [np.rint(127.5 * (1 + each.signal / reach)).astype(np.uint8) for each in feature.patches]
    left, right = _tiled(signals), _tiled([each.pixels for each in feature.patches])
    both = Image.new("RGB", (2 * left.width + 4 * _GAP, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4 * _GAP, 0))
    return both


def layer_picture(features: Sequence[FeatureMap]) -> Image.Image:
    """Draw all maps of a layer, four a row, in their order."""
    pictures = [feature_picture(each) for each in features]
    width, height = pictures[0].size
    rows, columns = -(-len(pictures) // _COLUMNS), min(_COLUMNS, len(pictures))
    sheet = Image.new("RGB", (columns * (width + _BETWEEN) - _BETWEEN, rows * (height + _BETWEEN) - _BETWEEN), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        sheet.paste(picture, (column * (width + _BETWEEN), row * (height + _BETWEEN)))
    return sheet


def _tiled(pictures: Sequence[Pixels]) -> Image.Image:
    """Lay patches out three a row, each as large as its tile allows; those at the edge of a crop are narrower."""
    step = _TILE + _GAP
    tiles = Image.new("RGB", (_ACROSS * step - _GAP, _ACROSS * step - _GAP), "white")
    for number, pixels in enumerate(pictures):
        row, column = divmod(number, _ACROSS)
        scale = _TILE / max(pixels.shape[:2])
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        tile = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        tiles.paste(tile, (column * step + (_TILE - size[0]) // 2, row * step + (_TILE - size[1]) // 2))
    return tiles
