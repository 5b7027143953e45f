"""Scenes of one or two digits, each with the sentence that describes it."""

import math
from dataclasses import dataclass

import numpy as np

from lstn.data.digits import DIGIT_LABELS
from lstn.data.objects import Objects
from lstn.data.poses import Pose, pose_from_box
from lstn.data.scenes.backgrounds import DrawnBackgrounds
from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.scene_sentences import (
    RELATIONS,
    WORDS,
    Relation,
    SceneSentence,
    described,
    drawn_size,
    drawn_turn,
    held_out,
)
from lstn.data.scenes.scene_split import SceneObject, SceneSplit
from lstn.data.splits import SplitName
from lstn.images import Pixels
from lstn.warps.quadrilaterals import upright_box

_TWO = 0.75
"""The share of scenes that show two digits."""

_UNSEEN = 0.5
"""The share of these, among test scenes, whose combination training never shows."""

_CLEAR = 1.5
"""How much farther apart two digits are the way that is said than the other way, at least."""

_APART_PX = 1.0
_TRIES = 1000

_NUMBERS = {word: number for number, word in enumerate(WORDS)}


class DescribedScenes(SceneSplit):
    """One scene for each digit of a split, alone or beside another one; an image's objects are the words about it.

    A word that is about one digit is where that digit is; nobody says where the words of a relation are.
    """

    def __init__(self, split: SplitName, *, image_hw: tuple[int, int], seed: int) -> None:
        stock, backgrounds = DigitObjects(split), DrawnBackgrounds(split)
        super().__init__(split, stock, backgrounds, image_hw=image_hw, seed=seed)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self.scene(index).pixels, _NUMBERS["a"]  # the first word of every sentence

    def sentence(self, index: int) -> SceneSentence:
        """Return the sentence about scene `index`."""
        return self._described(index)[0]

    def objects(self, index: int) -> Objects:
        """Return the words about scene `index`, in their order."""
        sentence, poses = self._described(index)
        words = sentence.words()
        thetas = [np.full((2, 3), np.nan, np.float32) if of is None else poses[of].theta for _, of in words]
        return Objects(np.array([_NUMBERS[word] for word, _ in words], np.int64), np.stack(thetas))

    def _described(self, index: int) -> tuple[SceneSentence, list[Pose]]:
        """Return the sentence, and the poses of its objects in its order."""
        placed, _ = self._drawn(index)
        poses = [found.pose for _, found in placed]
        sentence, order = described([DIGIT_LABELS[found.label] for _, found in placed], poses, self.image_hw)
        return sentence, [poses[place] for place in order]

    def _placed(self, numbers: list[int], rng: np.random.Generator) -> list[tuple[int, SceneObject]]:
        """Place a digit, and perhaps another one, which is drawn again until the two are a combination to show."""
        number = numbers[0]
        poses: list[Pose] = []
        if rng.random() < _TWO:
            relation = RELATIONS[rng.integers(2)]
            first = bool(rng.integers(2))
            unseen = self.split == "test" and rng.random() < _UNSEEN
            other = number
            while other == number or held_out(*self._combined(number, relation, other, first=first)) is not unseen:
                other = int(rng.integers(len(self)))
            numbers = [number, other] if first else [other, number]
            poses = _two(relation, self.image_hw, rng)
        if not poses:
            numbers = [number]
            poses = [_one(self.image_hw, rng)]
        return [
            (each, SceneObject(self.stock.label(each), pose, upright_box(pose.theta, self.image_hw)))
            for each, pose in zip(numbers, poses, strict=True)
        ]

    def _combined(self, number: int, relation: Relation, other: int, *, first: bool) -> tuple[int, Relation, int]:
        pair = (number, other) if first else (other, number)
        return self.stock.label(pair[0]), relation, self.stock.label(pair[1])

    @property
    def fingerprint(self) -> str:
        """All that the images depend on."""
        return f"{super().fingerprint} described"


@dataclass(frozen=True, slots=True)
class _Square:
    """A digit's box before it has a place: its side in pixels, how far it is turned, and half of its extent then."""

    side: float
    degrees: float
    reach: float

    @staticmethod
    def drawn(image_hw: tuple[int, int], rng: np.random.Generator) -> "_Square":
        """Draw the size and the turn."""
        side, degrees = drawn_size(image_hw, rng), drawn_turn(rng)
        angle = math.radians(degrees)
        return _Square(side, degrees, side * (math.cos(angle) + abs(math.sin(angle))) / 2)

    def centre(self, across: float, down: float, image_hw: tuple[int, int]) -> tuple[float, float]:
        """Return a place wholly inside of the picture, in pixels, by two numbers on 0..1."""
        height, width = image_hw
        return self.reach + across * (width - 2 * self.reach), self.reach + down * (height - 2 * self.reach)

    def pose(self, centre: tuple[float, float], image_hw: tuple[int, int]) -> Pose:
        """Return the pose at a place."""
        return pose_from_box(centre, (self.side, self.side), self.degrees, image_hw)


def _one(image_hw: tuple[int, int], rng: np.random.Generator) -> Pose:
    square = _Square.drawn(image_hw, rng)
    across, down = rng.random(2).tolist()
    return square.pose(square.centre(across, down, image_hw), image_hw)


def _two(relation: Relation, image_hw: tuple[int, int], rng: np.random.Generator) -> list[Pose]:
    """Return the poses of two digits in this relation, whose upright boxes are apart; none if no room was found."""
    one, other = _Square.drawn(image_hw, rng), _Square.drawn(image_hw, rng)
    for _ in range(_TRIES):
        x, y, far, low = rng.random(4).tolist()
        here, there = one.centre(x, y, image_hw), other.centre(far, low, image_hw)
        across, down = there[0] - here[0], there[1] - here[1]
        ahead, aside = (across, down) if relation == "left of" else (down, across)
        if ahead > max(_CLEAR * abs(aside), one.reach + other.reach + _APART_PX):
            return [one.pose(here, image_hw), other.pose(there, image_hw)]
    return []
