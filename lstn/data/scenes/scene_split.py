"""Scenes of one split: which objects are in each, where they are, and the picture of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lstn.data.poses import Pose
from lstn.data.scenes.backgrounds import Backgrounds, background, with_grain
from lstn.data.scenes.painting import Stamp, paint, piece_of
from lstn.data.scenes.placing import SIZE, Rectangle, box_of, place, scatter
from lstn.data.splits import SPLIT_NAMES, SplitName
from lstn.images import Pixels

_FRAGMENTS = (1, 4)
"""How many pieces of other objects lie around: at least, and fewer than."""

_PIECE = (0.22, 0.36)
"""Side of a piece, as a share of the object that it is of: too little to know a class by."""

_FIXED_SEED = 0
"""Validation and test scenes are drawn with this seed whatever the run's: all runs answer the same questions."""


class SceneObjects(Protocol):
    """Objects of known classes, upright, to paint."""

    def __len__(self) -> int:
        """Return their number."""

    def label(self, number: int, /) -> int:
        """Return the class of an object."""

    def shape(self, number: int, /) -> tuple[float, float]:
        """Return width and height of an object, in any unit."""

    def stamp(self, number: int, /) -> Stamp:
        """Return how an object is painted."""

    @property
    def fingerprint(self) -> str:
        """Return what tells these objects from others: which, in which order, with which labels."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An object in a scene: its class, the crop that shows it upright, and the upright box around it in pixels."""

    label: int
    pose: Pose
    box: Rectangle


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture (H, W, 3) uint8 RGB, and all objects in it that are of a class."""

    pixels: Pixels
    objects: tuple[SceneObject, ...]


class SceneSplit:
    """One scene for each object. Seed, number, epoch and split alone decide what is in it."""

    def __init__(
        self,
        split: SplitName,
        objects: SceneObjects,
        backgrounds: Backgrounds,
        *,
        image_hw: tuple[int, int],
        seed: int,
        epoch: int = 0,
    ) -> None:
        self.split = split
        self.objects, self.backgrounds = objects, backgrounds
        self.image_hw = image_hw
        self.seed = seed if split == "train" else _FIXED_SEED
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        scene = self.scene(index)
        return scene.pixels, scene.objects[0].label

    def pose(self, index: int) -> Pose:
        """Return the pose of the object in scene `index`, without painting it."""
        number = range(len(self))[index]
        return self._placed([number], self._rng(number))[0][1].pose

    def scene(self, index: int) -> Scene:
        """Return scene `index` with all that is known of it."""
        number = range(len(self))[index]
        rng = self._rng(number)
        placed = self._placed([number], rng)
        canvas = background(self.backgrounds, self.image_hw, rng)
        for _ in range(rng.integers(*_FRAGMENTS)):
            share = rng.uniform(*_PIECE)
            piece = piece_of(self.objects.stamp(int(rng.integers(len(self)))), share, rng)
            paint(canvas, piece, scatter(share * rng.uniform(*SIZE) * min(self.image_hw), self.image_hw, rng), rng)
        for each, found in placed:
            paint(canvas, self.objects.stamp(each), found.pose, rng)
        return Scene(np.asarray(with_grain(canvas, rng)), tuple(found for _, found in placed))

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, self.epoch, SPLIT_NAMES.index(self.split)])

    def _placed(self, numbers: list[int], rng: np.random.Generator) -> list[tuple[int, SceneObject]]:
        """Place these objects, so that none hides another. Of several, one that finds no room is left out."""
        placed: list[tuple[int, SceneObject]] = []
        for number in numbers:
            taken = [each.box for _, each in placed]
            pose = place(self.objects.shape(number), self.image_hw, taken, rng)
            if pose is not None:
                found = SceneObject(self.objects.label(number), pose, box_of(pose, self.image_hw))
                placed.append((number, found))
        return placed

    @property
    def fingerprint(self) -> str:
        """All that the images depend on."""
        stock = f"{self.objects.fingerprint}; {self.backgrounds.fingerprint}"
        return f"scenes {self.split} {self.image_hw} {self.seed}: {stock}"

    def redrawn(self, epoch: int) -> "SceneSplit":
        """The same objects in other scenes; validation and test scenes stay as they are."""
        if self.split != "train":
            return self
        return SceneSplit(
            self.split, self.objects, self.backgrounds, image_hw=self.image_hw, seed=self.seed, epoch=epoch
        )
