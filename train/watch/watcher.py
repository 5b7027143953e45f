"""The watcher of a run: what hears how it goes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

from lstn.health.run_health import Epoch
from lstn.images import Pixels
from lstn.warps.warp import CropSampling, Theta

OnStep: TypeAlias = Callable[[int, int, float, float], None]
"""Called after every batch with the epoch, images seen in it, mean loss and accuracy so far."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run is about to do. images, val_images: in an epoch; steps: of an epoch; finished: epochs before, in
    `spent_s` seconds."""

    device: str
    parameters: int
    images: int
    val_images: int
    steps: int
    finished: int
    spent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Watcher:
    """Where progress goes. `started` hears what is about to be done, `epoch` every finished epoch, `warped` before that
    what a few images (n, H, W, 3), their theta (n, …) and the colour outside of the frame are in it, if there is a
    transformer; `painted` a sheet of what a generator paints."""

    started: Callable[[Outlook], None]
    step: OnStep
    epoch: Callable[[Epoch, Epoch], None]
    warped: Callable[[int, Pixels, Theta, CropSampling], None] = lambda epoch, pixels, theta, sampling: None
    painted: Callable[[int, Image.Image], None] = lambda epoch, sheet: None


SILENT = Watcher(lambda outlook: None, lambda *figures: None, lambda row, best: None)
"""Hears everything and says nothing, as all processes of a run but the first do."""
