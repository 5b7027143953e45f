"""Scenes of one split: which objects are in each, where they are, and the picture of them."""

from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lstn.data.objects import Objects
from lstn.data.poses import Pose
from lstn.data.scenes.backgrounds import Backgrounds, background, with_grain
from lstn.data.scenes.painting import Stamp, paint, piece_of
from lstn.data.scenes.placing import SIZE, Arrangement, apart, scattered_pose
from lstn.data.splits import SPLIT_NAMES, SplitName
from lstn.images import Pixels
from lstn.warps.quadrilaterals import Rectangle, upright_box

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
    """One scene for each object. Seed, number, epoch and split alone decide what is in it.

    most:    how many objects a scene has at most: from one to so many, the others drawn from the same split
    arrange: how they are placed, in the order in which `objects` says them
    """

    def __init__(
        self,
        split: SplitName,
        objects: SceneObjects,
        backgrounds: Backgrounds,
        *,
        image_hw: tuple[int, int],
        seed: int,
        epoch: int = 0,
        most: int = 1,
        arrange: Arrangement = apart,
    ) -> None:
        self.split = split
        self.stock, self.backgrounds = objects, backgrounds
        self.most, self.arrange = most, arrange
        self.image_hw = image_hw
        self.seed = seed if split == "train" else _FIXED_SEED
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.stock)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        scene = self.scene(index)
        return scene.pixels, scene.objects[0].label

    def pose(self, index: int) -> Pose:
        """Return the pose of the object in scene `index`, of several the first one's, without painting it."""
        return self._drawn(index)[0][0][1].pose

    def objects(self, index: int) -> Objects:
        """Return all objects of a class in scene `index`, without painting it."""
        placed, _ = self._drawn(index)
        labels = np.array([found.label for _, found in placed], np.int64)
        return Objects(labels, np.stack([found.pose.theta for _, found in placed]))

    def scene(self, index: int) -> Scene:
        """Return scene `index` with all that is known of it."""
        placed, rng = self._drawn(index)
        canvas = background(self.backgrounds, self.image_hw, rng)
        for _ in range(rng.integers(*_FRAGMENTS)):
            share = rng.uniform(*_PIECE)
            piece = piece_of(self.stock.stamp(int(rng.integers(len(self)))), share, rng)
            paint(
                canvas, piece, scattered_pose(share * rng.uniform(*SIZE) * min(self.image_hw), self.image_hw, rng), rng
            )
        for each, found in placed:
            paint(canvas, self.stock.stamp(each), found.pose, rng)
        return Scene(np.asarray(with_grain(canvas, rng)), tuple(found for _, found in placed))

    def _drawn(self, index: int) -> tuple[list[tuple[int, SceneObject]], np.random.Generator]:
        """Return which objects scene `index` has and where, and what draws the rest of it."""
        number = range(len(self))[index]
        rng = np.random.default_rng([self.seed, number, self.epoch, SPLIT_NAMES.index(self.split)])
        more = rng.integers(len(self), size=rng.integers(self.most)).tolist() if self.most > 1 else []
        return self._placed([number, *more], rng), rng

    def _placed(self, numbers: list[int], rng: np.random.Generator) -> list[tuple[int, SceneObject]]:
        """Place these objects. Of several, one that finds no room is left out."""
        poses = self.arrange([self.stock.shape(number) for number in numbers], self.image_hw, rng)
        return [
            (number, SceneObject(self.stock.label(number), pose, upright_box(pose.theta, self.image_hw)))
            for number, pose in zip(numbers, poses, strict=True)
            if pose is not None
        ]

    @property
    def fingerprint(self) -> str:
        """All that the images depend on."""
        stock = f"{self.stock.fingerprint}; {self.backgrounds.fingerprint}"
        several = f"; up to {self.most} objects" if self.most > 1 else ""
        several += "" if self.arrange is apart else f" {self.arrange.__name__}"
        return f"scenes {self.split} {self.image_hw} {self.seed}: {stock}{several}"

    def redrawn(self, epoch: int) -> "SceneSplit":
        """The same objects in other scenes; validation and test scenes stay as they are."""
        if self.split != "train":
            return self
        again = copy(self)
        again.epoch = epoch
        return again
