"""`lstn explain --features`: the images that excite each feature map of a layer, as one picture, and figures."""

from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstn.errors import DataError, ImageError
from lstn.machine.cores import decoders
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import say_loading, working

if TYPE_CHECKING:
    from lstn.images import Pixels
    from lstn.nn.attribution.exciting import Excitement

_BATCH = 32


@dataclass(frozen=True, slots=True)
class OpenedLayer:
    """A layer of a checkpoint, before any image was seen; layer: as typed."""

    layer: str
    found: "Excitement"


def open_layer(checkpoint: Path, layer: str, device: str, backbone: str | None = None) -> OpenedLayer:
    """Load a checkpoint, and find the layer in it, so that a wrong name ends a command before its work.

    Raises:
        UsageError: no such layer or map, or a network that a deconvnet can't go back through.
    """
    say_loading(f"explaining {checkpoint}")
    from lstn.nn.attribution.exciting import WantedMaps, start_search
    from lstn.nn.checkpoint import load_checkpoint
    from lstn.nn.device import choose_device

    model = load_checkpoint(checkpoint, backbone).classifier_for("lstn explain").to(choose_device(device))
    return OpenedLayer(layer, start_search(model, WantedMaps.of(layer)))


def explain_features(
    opened: OpenedLayer, images: list[Path | str], out: Path
) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Save a picture of the layer's feature maps.

    Returns: of the images that can't be read what JSON says, what it says of the maps, and a section of the page.

    Raises:
        DataError: no image can be read.
    """
    from lstn.explanation.explanation_page import features_section
    from lstn.explanation.feature_pictures import PICTURE, figures_of_features, layer_picture
    from lstn.imaging.saved_picture import save_picture
    from lstn.nn.attribution.exciting import feature_maps

    layer, found = opened.layer, opened.found
    batch = batch_of(found.model.contract.image_hw, _BATCH)
    failed = _look_at_all(found, images, batch)
    total = found.images.size
    with working(f"reconstructing {counted(total, 'patch')}", total) as advance:
        features = feature_maps(found, lambda number: _read(images[number], found), batch=batch, advance=advance)
    save_picture(layer_picture(features), out / PICTURE)
    figures = figures_of_features(layer, features, [str(each) for each in images])
    return failed, figures, features_section(layer, features)


def _look_at_all(found: "Excitement", images: list[Path | str], batch: int) -> list[dict[str, Any]]:
    """Find the images that excite each map most, and return what JSON says of those that can't be read."""
    from lstn.explanation.explanation_page import unreadable
    from lstn.runtime.inference.decoding import decode_ahead

    decoded = decode_ahead(images, found.model.contract, workers=decoders(None), window=2 * batch)
    failed = list[dict[str, Any]]()
    with closing(decoded), working(f"looking at {counted(len(images), 'image')}", len(images)) as advance:
        numbered = enumerate(decoded)
        while piece := list(islice(numbered, batch)):
            failed += [unreadable(path, read) for _, (path, read) in piece if isinstance(read, ImageError)]
            seen = {number: read for number, (_, read) in piece if not isinstance(read, ImageError)}
            if seen:
                found.add(list(seen), np.stack(list(seen.values())))
            advance(len(piece))
    if not found.images.size:
        raise DataError(f"none of {counted(len(images), 'image')} can be read")
    return failed


def _read(path: Path | str, found: "Excitement") -> "Pixels":
    from lstn.runtime.inference.decoding import load

    return load(path, found.model.contract)
