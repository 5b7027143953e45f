"""Sentences about scenes of one or two digits: what each is, how large, how it is turned, and how the two lie.

    sentence = object [relation object]
    object   = "a" size digit ("turned" side | "standing upright")
    relation = "is left of" | "is just above"

So each thing that is said has a place of its own in the sentence: a reader doesn't hear its own words, and what it is
unsure of must not move the others. Poses alone say what is true (`described`). The scenes that are drawn to be
described keep clear of all borders: no digit is of a middling size or turned a little, and no two lie diagonally.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from lstn.data.digits import DIGIT_LABELS
from lstn.data.poses import Pose
from lstn.warps.warp import Theta

Side: TypeAlias = Literal["", "left", "right"]
Relation: TypeAlias = Literal["left of", "just above"]

RELATIONS: tuple[Relation, ...] = ("left of", "just above")
_SAID = "a small large turned left right standing upright is of just above"
WORDS = tuple(sorted({*DIGIT_LABELS, *_SAID.split()}))
LONGEST = 13
"""Words of the longest sentence."""

SMALL, LARGE = (0.16, 0.21), (0.3, 0.38)
"""The side of a digit's box, as a share of the shorter side of the scene: at least, at most."""

UPRIGHT_DEG, TURNED_DEG = (-6.0, 6.0), (22.0, 35.0)
"""How far a digit is turned that is not said to be turned, and one that is, either way."""

_BETWEEN_SIZES = (SMALL[1] + LARGE[0]) / 2
_BETWEEN_TURNS_DEG = (UPRIGHT_DEG[1] + TURNED_DEG[0]) / 2


@dataclass(frozen=True, slots=True)
class SaidObject:
    """What a sentence says of one object. side: to which it is turned: left is counter-clockwise; or it is upright"""

    digit: str
    large: bool
    side: Side

    def words(self) -> Iterator[str]:
        """Yield its words."""
        yield from ("a", "large" if self.large else "small", self.digit)
        yield from ("turned", self.side) if self.side else ("standing", "upright")


@dataclass(frozen=True, slots=True)
class SceneSentence:
    """A sentence by what it says. relation: of the first object to the second, if there is one"""

    objects: tuple[SaidObject, ...]
    relation: Relation | None = None

    def words(self) -> list[tuple[str, int | None]]:
        """Return its words, each with the number of the object that it is about, or None for a relation's."""
        said: list[tuple[str, int | None]] = [(word, 0) for word in self.objects[0].words()]
        if self.relation is not None:
            said += [(word, None) for word in ("is", *self.relation.split())]
            said += [(word, 1) for word in self.objects[1].words()]
        return said

    def __str__(self) -> str:
        return " ".join(word for word, _ in self.words())


def described(
    digits: Sequence[str], poses: Sequence[Pose], image_hw: tuple[int, int]
) -> tuple[SceneSentence, list[int]]:
    """Return the sentence about one or two digits in a picture, and the order in which it names them.

    Of two digits the left one is named first, or the upper one if they are farther apart down than across.
    """
    height, width = image_hw
    if len(digits) == 1:
        return SceneSentence((_said(digits[0], poses[0].theta, image_hw),)), [0]
    across, down = ((poses[1].theta - poses[0].theta)[:, 2] * (width / 2, height / 2)).tolist()
    sideways = abs(across) > abs(down)
    order = [0, 1] if (across if sideways else down) > 0 else [1, 0]
    said = tuple(_said(digits[place], poses[place].theta, image_hw) for place in order)
    return SceneSentence(said, "left of" if sideways else "just above"), order


def _said(digit: str, theta: Theta, image_hw: tuple[int, int]) -> SaidObject:
    height, width = image_hw
    x, y = float(theta[0, 0]) * width, float(theta[1, 0]) * height  # the box's upper side, in pixels
    degrees = math.degrees(math.atan2(-y, x))
    side: Side = "" if abs(degrees) < _BETWEEN_TURNS_DEG else "left" if degrees > 0 else "right"
    return SaidObject(digit, math.hypot(x, y) > _BETWEEN_SIZES * min(image_hw), side)


def sentence_in(words: Sequence[str]) -> SceneSentence | None:
    """Return what a sentence says; None for words that the grammar does not make."""
    objects: list[SaidObject] = []
    relation: Relation | None = None
    rest = list(words)
    while rest and len(objects) < 2:
        match rest:
            case ["a", ("small" | "large") as size, digit, "turned", ("left" | "right") as side, *after]:
                found = SaidObject(digit, size == "large", "left" if side == "left" else "right")
            case ["a", ("small" | "large") as size, digit, "standing", "upright", *after]:
                found = SaidObject(digit, size == "large", "")
            case _:
                return None
        if found.digit not in DIGIT_LABELS:
            return None
        objects.append(found)
        match after:
            case ["is", "left", "of", *rest] if len(objects) == 1:
                relation = "left of"
            case ["is", "just", "above", *rest] if len(objects) == 1:
                relation = "just above"
            case _:
                rest = after
                break
    whole = objects and not rest and len(objects) == (1 if relation is None else 2)
    return SceneSentence(tuple(objects), relation) if whole else None


def held_out(first: int, relation: Relation, second: int) -> bool:
    """Return whether training never shows this digit in this relation to that one: 40 combinations of 200.

    Each digit is held out with two others in each place of each relation, and shown with eight.
    """
    return (first + second + 2 * RELATIONS.index(relation)) % 5 == 0


def drawn_size(image_hw: tuple[int, int], rng: np.random.Generator) -> float:
    """Return the side of a small or of a large digit's box, in pixels."""
    return float(rng.uniform(*(SMALL, LARGE)[rng.integers(2)])) * min(image_hw)


def drawn_turn(rng: np.random.Generator) -> float:
    """Return how far a digit is turned counter-clockwise, in degrees: half of them hardly."""
    if rng.integers(2):
        return float(rng.uniform(*UPRIGHT_DEG))
    return float(rng.uniform(*TURNED_DEG)) * (1 if rng.integers(2) else -1)
