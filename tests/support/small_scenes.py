"""Scenes on gray, and small folders to make scenes of."""

from pathlib import Path

import numpy as np
from PIL import Image

from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.scene_split import SceneSplit
from lstn.data.splits import SplitName


class Gray:
    """A background that has nothing in it."""

    turns = (None,)
    fingerprint = "gray"

    def __len__(self) -> int:
        return 1

    def picture(self, number: int, side: int) -> Image.Image:
        return Image.new("RGB", (side, side), (128, 128, 128))


def digits(split: SplitName, *, image_hw: tuple[int, int], seed: int = 0) -> SceneSplit:
    return SceneSplit(split, DigitObjects(split), Gray(), image_hw=image_hw, seed=seed)


def photos(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def objects(root: Path, count: int = 10, size: tuple[int, int] = (40, 30)) -> Path:
    for number, label in enumerate(("bus", "car")):
        photos(root / label, count, seed=100 + number, size=size)
    return root
