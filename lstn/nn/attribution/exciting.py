"""Images that excite each feature map of a layer most, and what in them does (Zeiler and Fergus 2013, figure 2)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lstn.contract import At
from lstn.errors import UsageError
from lstn.explanation.feature_pictures import ExcitedPatch, FeatureMap
from lstn.images import Pixels
from lstn.nn.attribution.deconvnet import maps_of, receptive_field, reconstruct
from lstn.nn.attribution.map_layers import map_layer
from lstn.nn.classifier import Classifier

NINE = 9
"""Images a feature map, as in the paper's figure."""


@dataclass(frozen=True, slots=True)
class WantedMaps:
    """A layer by its name, and which of its maps: all, or one by its number."""

    layer: str
    only: int | None = None

    @staticmethod
    def of(text: str) -> "WantedMaps":
        """Read `LAYER` or `LAYER:MAP`.

        Raises:
            UsageError: MAP is not a number.
        """
        layer, colon, number = text.partition(":")
        if colon and not (number.isdecimal() and len(number) < 7):
            raise UsageError(f"--features {text!r:.80}: expected LAYER or LAYER:MAP, with a number for MAP")
        return WantedMaps(layer, int(number) if colon else None)


@dataclass(slots=True)
class Excitement:
    """The strongest value of each map, image by image.

    layer:  what the maps are of
    hw:     height and width of a map
    maps:   the numbers of those that are wanted, (M,)
    images: (M, up to 9) which images excite each most, strongest first; value and place next to them. A place counts
            through the rows of all crops of an image, one after another
    """

    model: Classifier
    layer: torch.nn.Module
    hw: tuple[int, int]
    maps: list[int]
    images: np.ndarray
    values: np.ndarray
    places: np.ndarray
    fields: dict[tuple[int, int], tuple[slice, slice]] = field(default_factory=dict)

    def seen(self, spot: tuple[int, int]) -> tuple[slice, slice]:
        """Return the rows and columns of a crop that one place of a map, by row and column, depends on."""
        if spot not in self.fields:
            blank = torch.zeros(1, 3, *self.model.contract.backbone_hw, device=self.model.scale.device)
            self.fields[spot] = receptive_field(self.model.classify, self.layer, blank, spot)
        return self.fields[spot]

    def add(self, numbers: Sequence[int], pixels: Pixels) -> None:
        """Look at more images (N, H, W, 3), which have these numbers."""
        with torch.no_grad():
            found = maps_of(self.model.classify, self.layer, crops_of(self.model, pixels))[:, self.maps]
        of_image = found.reshape(len(pixels), -1, *found.shape[1:]).transpose(1, 2)  # (N, M, K, h, w), of K crops
        strongest, place = (each.cpu().numpy().T for each in of_image.flatten(2).max(2))
        number = np.broadcast_to(np.array(numbers), strongest.shape)
        values = np.concatenate([self.values, strongest], axis=1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :NINE]
        self.values = np.take_along_axis(values, order, 1)
        self.images = np.take_along_axis(np.concatenate([self.images, number], axis=1), order, 1)
        self.places = np.take_along_axis(np.concatenate([self.places, place], axis=1), order, 1)


def start_search(model: Classifier, wanted: WantedMaps) -> Excitement:
    """Find the layer, and check that what excites it can be shown.

    Raises:
        UsageError: no such layer or map; an activation before it that is not ReLU; or a transformer that warps feature
            maps, of which there is no picture.
    """
    if model.contract.at is At.STEM:
        raise UsageError(
            "--features: the transformer of this model warps feature maps, not the picture",
            hint="leave --features out, or train with: --at input",
        )
    layer, (channels, height, width) = map_layer(model, wanted.layer)
    if wanted.only is not None and wanted.only >= channels:
        raise UsageError(
            f"--features {wanted.layer}:{wanted.only}: this layer has {channels} feature maps",
            hint=f"use a number from 0 to {channels - 1}",
        )
    blank = np.zeros((1, *model.contract.image_hw, 3), np.uint8)
    reconstruct(model.classify, layer, crops_of(model, blank), [(0, 0, 0)], model.contract.backbone)
    maps = list(range(channels)) if wanted.only is None else [wanted.only]
    none = np.zeros((len(maps), 0))
    return Excitement(model, layer, (height, width), maps, none.astype(int), none, none.astype(int))


def feature_maps(
    found: Excitement, read: Callable[[int], Pixels], *, batch: int, advance: Callable[[int], None]
) -> list[FeatureMap]:
    """Return each map's images, as patches that its neuron sees, and what in them excites it.

    read:    an image (H, W, 3) by its number
    advance: hears how many patches were made
    """
    tasks = sorted(
        (int(found.images[row, rank]), row, rank) for row, rank in np.ndindex(found.images.shape)
    )  # by image, each of which is decoded once
    patches: dict[tuple[int, int], ExcitedPatch] = {}
    for begin in range(0, len(tasks), batch):
        piece = tasks[begin : begin + batch]
        for (_, row, rank), patch in zip(piece, _patches(found, piece, read), strict=True):
            patches[row, rank] = patch
        advance(len(piece))
    ranks = range(found.images.shape[1])
    return [FeatureMap(number, tuple(patches[row, rank] for rank in ranks)) for row, number in enumerate(found.maps)]


def _patches(
    found: Excitement, piece: Sequence[tuple[int, int, int]], read: Callable[[int], Pixels]
) -> Iterator[ExcitedPatch]:
    """Yield the patch of each task: an image, a row of `found` and a rank in it."""
    images = {number: read(number) for number in {image for image, _, _ in piece}}
    model = found.model
    of_images = crops_of(model, np.stack([images[image] for image, _, _ in piece]))
    of_images = of_images.reshape(len(piece), -1, *of_images.shape[1:])
    grid = (of_images.shape[1], *found.hw)
    where = [np.unravel_index(int(found.places[row, rank]), grid) for _, row, rank in piece]
    crops = torch.stack([each[int(place[0])] for each, place in zip(of_images, where, strict=True)])
    spots = [(int(row), int(column)) for _, row, column in where]
    places = [(found.maps[row], *spot) for (_, row, _), spot in zip(piece, spots, strict=True)]
    signals = reconstruct(model.classify, found.layer, crops, places, model.contract.backbone)
    for (image, row, rank), crop, signal, spot in zip(piece, crops, signals, spots, strict=True):
        down, across = found.seen(spot)
        shown, drawn = _pixels(crop, model)[down, across], signal.permute(1, 2, 0).cpu().numpy()[down, across]
        yield ExcitedPatch(image, float(found.values[row, rank]), shown, drawn)


def _pixels(crop: Tensor, model: Classifier) -> Pixels:
    """Return a crop (3, h, w) float32, normalised, as a picture again: (h, w, 3) uint8."""
    plain = (crop - model.shift) / model.scale
    return plain.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def crops_of(model: Classifier, pixels: Pixels) -> Tensor:
    """(N, H, W, 3) uint8 -> the crops as the backbone gets them, (N * K, 3, h, w) float32, image by image."""
    with torch.no_grad():
        return model.transform(torch.from_numpy(pixels).to(model.scale.device))[0]
