"""Images in memory, with known objects in them: a split for detectors."""

from dataclasses import dataclass

import numpy as np

from lstn.data.objects import Objects
from lstn.images import Pixels


@dataclass(frozen=True)
class ObjectsInMemory:
    """pixels (N, H, W, 3) uint8, and the objects of each."""

    pixels: Pixels
    known: tuple[Objects, ...]
    fingerprint: str = "in memory"

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self.pixels[index], 0

    def objects(self, index: int) -> Objects:
        return self.known[index]

    def redrawn(self, epoch: int) -> "ObjectsInMemory":
        return self


def coloured(count: int, side: int, seed: int = 0) -> Pixels:
    """Return images of one colour each, (N, side, side, 3)."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (count, side, side, 3)).copy()
