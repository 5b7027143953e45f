"""Models for the loads and the soak, untrained: their answers hang on the image, and lstn wrote them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lstn.contract import Contract, Loc
from lstn.export.onnx.to_onnx import write_onnx
from lstn.images import Pixels
from lstn.nn.classifier import Classifier

SIDE = 32


def write_model(path: Path, labels: Sequence[str], image_hw: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> None:
    """Export `cnn` behind an L-STN with these labels; seed: of its weights."""
    contract = Contract(Loc.LSTN, "cnn", image_hw, tuple(labels), **_smaller(image_hw))
    torch.manual_seed(seed)
    model = Classifier(contract)
    images = coloured(4, image_hw)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # an untrained BatchNorm lets nothing through that depends on the image
        model(torch.from_numpy(images))
    write_onnx(model.eval(), path, contract, images)


def _smaller(image_hw: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Of large images the localizer and the backbone see less."""
    return {} if max(image_hw) <= 256 else {"view_hw": (SIDE, SIDE), "crop_hw": (SIDE, SIDE)}


def coloured(count: int, image_hw: tuple[int, int] = (SIDE, SIDE)) -> Pixels:
    """Return images of four colours each, (count, H, W, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(four).resize(image_hw[::-1])) for four in colours])


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write PNG files of four colours each; return their names."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for path, pixels in zip(paths, coloured(count), strict=True):
        Image.fromarray(pixels).save(path)
    return paths
