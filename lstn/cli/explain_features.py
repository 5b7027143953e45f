"""`lstn explain --features`: the images that excite each feature map of a layer, as one picture, and figures."""

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstn.errors import DataError, ImageError
from lstn.files import replacing
from lstn.machine.cores import decoders
from lstn.machine.gpu import Device
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import say_loading, working

if TYPE_CHECKING:
    from lstn.images import Pixels
    from lstn.nn.attribution.exciting import Excitement

_BATCH = 32


def explain_features(
    checkpoint: Path, images: list[Path | str], layer: str, device: Device, out: Path
) -> tuple[dict[str, Any], str]:
    """Save a picture of the layer's feature maps, and return what JSON says of them, and a section of the page.

    Raises:
        UsageError: no such layer or map, or a network that a deconvnet can't go back through.
        DataError: no image can be read.
    """
    say_loading(f"explaining {checkpoint}")
    from lstn.explanation.explanation_page import features_section
    from lstn.explanation.feature_pictures import PICTURE, figures_of_features, layer_picture
    from lstn.nn.attribution.exciting import WantedMaps, feature_maps, start
    from lstn.nn.checkpoint import load_checkpoint
    from lstn.nn.device import choose_device

    model = load_checkpoint(checkpoint).model.to(choose_device(device.value))
    found = start(model, WantedMaps.of(layer))
    batch = batch_of(model.contract.image_hw, _BATCH)
    _look_at_all(found, images, batch)
    total = found.images.size
    with working(f"reconstructing {counted(total, 'patch')}", total) as advance:
        features = feature_maps(found, lambda number: _read(images[number], found), batch=batch, advance=advance)
    with replacing(out / PICTURE) as temporary:
        layer_picture(features).save(temporary, format="PNG")
    figures = figures_of_features(layer, features, [str(each) for each in images])
    return figures, features_section(layer, features)


def _look_at_all(found: "Excitement", images: list[Path | str], batch: int) -> None:
    """Find the images that excite each map most; those that can't be read are left out."""
    from lstn.runtime.inference.predict import decode_ahead

    decoded = decode_ahead(images, found.model.contract.image_hw, workers=decoders(None), window=2 * batch)
    numbered = ((number, pixels) for number, (_, pixels) in enumerate(decoded) if not isinstance(pixels, ImageError))
    with closing(decoded), working(f"looking at {counted(len(images), 'image')}", len(images)) as advance:
        while piece := list(islice(numbered, batch)):
            found.add([number for number, _ in piece], np.stack([pixels for _, pixels in piece]))
            advance(len(piece))
    if not found.images.size:
        raise DataError(f"none of {counted(len(images), 'image')} can be read")


def _read(path: Path | str, found: "Excitement") -> "Pixels":
    from lstn.runtime.inference.predict import load

    return load(path, found.model.contract.image_hw)
