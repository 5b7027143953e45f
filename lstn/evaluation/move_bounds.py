"""Bounds of moves, as `--worst` names them: a grid of turns, shifts and sizes within them, or moves drawn at random."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.errors import UsageError
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.report.wording import counted

MoveThetas: TypeAlias = npt.NDArray[np.float64]
"""(M, 2, 3) float64: how each move samples a picture, as `lstn.evaluation.measured_follow.sampled_at` takes it."""

MOST_DRAWS = 10_000
EXAMPLE = "rotate 30, shift 0.1, scale 1.2"

_PER_AXIS = {1: 121, 2: 11, 3: 5, 4: 3}
"""Axes of the grid -> how many values each has; a shift is two axes. All odd: the picture as it is is a point too."""
_TURNS_OF_FOUR = 5
_UP_TO = {Kind.ROTATE: 180.0, Kind.SHIFT: 0.5, Kind.SCALE: 4.0}


@dataclass(frozen=True, slots=True)
class MoveBounds:
    """How far pictures are moved: turned, then shifted, and enlarged or reduced, all about the middle.

    rotate: degrees either way
    shift:  share of width and of height, either way
    scale:  times as large, or as small; 1 leaves the size
    draws:  how many moves are drawn for each picture, uniformly; None: the grid, the same for all
    """

    rotate: float = 0.0
    shift: float = 0.0
    scale: float = 1.0
    draws: int | None = None

    @staticmethod
    def from_text(text: str, option: str = "--worst") -> "MoveBounds":
        """Read `rotate 30, shift 0.1, scale 1.2`, of which any may be missing; `random 10` among them draws ten.

        Raises:
            UsageError: it isn't such a list.
        """
        found: dict[str, float] = {}
        for part in text.split(","):
            name, number = _read(part.strip(), option)
            if name in found:
                raise UsageError(f"{option}: {name} is named twice", hint="name each kind of move once")
            found[name] = number
        draws = found.pop("random", None)
        if not found:
            raise UsageError(f"{option}: no kind of move is named", hint=f'for example: {option} "{EXAMPLE}"')
        return MoveBounds(**found, draws=None if draws is None else int(draws))

    @property
    def count(self) -> int:
        """How many moves each picture gets."""
        return len(self._grid()) if self.draws is None else self.draws

    def thetas(self, image_hw: tuple[int, int], index: int, seed: int) -> MoveThetas:
        """Return the moves of picture number `index`, (count, 2, 3).

        Those drawn depend on `seed` and `index` alone, and more draws begin with those of fewer.
        """
        if self.draws is None:
            return _thetas(self._grid(), image_hw)
        shares = np.random.default_rng([seed, index]).uniform(-1, 1, (self.draws, 4))
        shares *= [self.rotate, self.shift, self.shift, math.log(self.scale)]
        return _thetas(shares, image_hw)

    def describe(self) -> str:
        """Return it in words: which moves those are."""
        within = [
            f"turned by up to {self.rotate:g} degrees" if self.rotate else "",
            f"shifted by up to {self.shift:g} of the side in x and in y" if self.shift else "",
            f"scaled by 1/{self.scale:g} to {self.scale:g}" if self.scale > 1 else "",
        ]
        how = " drawn for each image" if self.draws else f", a grid of {' x '.join(map(str, self._sizes()))}"
        return f"{counted(self.count, 'move')}{how}: {', '.join(filter(None, within))}"

    def _sizes(self) -> list[int]:
        """Return how many turns, shifts in x, shifts in y and sizes the grid has, of those that are moved at all."""
        axes = [bool(self.rotate), bool(self.shift), bool(self.shift), self.scale > 1]
        each = _PER_AXIS[sum(axes)]
        turns = _TURNS_OF_FOUR if all(axes) else each
        return [size for size, used in zip((turns, each, each, each), axes, strict=True) if used]

    def _grid(self) -> npt.NDArray[np.float64]:
        """(M, 4): angle in degrees, shift in x and y as shares of the side, logarithm of the scale."""
        ends = [self.rotate, self.shift, self.shift, math.log(self.scale)]
        sizes = iter(self._sizes())
        values = [np.linspace(-end, end, next(sizes)) if end else np.zeros(1) for end in ends]
        return np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(-1, 4)


def _read(part: str, option: str) -> tuple[str, float]:
    """Read one kind and its number."""
    words = part.split()
    names = [*(kind.value for kind in _UP_TO), "random"]
    if len(words) != 2 or words[0] not in names:
        raise UsageError(
            f"{option}: {part[:60]!r}; expected {', '.join(names[:-1])} or {names[-1]}, each with a number",
            hint=f'for example: {option} "{EXAMPLE}"',
        )
    name, word = words
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if name == "random":
        if not (1 <= number <= MOST_DRAWS and number.is_integer()):
            raise UsageError(f"{option}: random {word[:20]!r}; expected a whole number from 1 to {MOST_DRAWS}")
        return name, number
    kind = Kind(name)
    if not kind.leaves < number <= _UP_TO[kind]:
        raise UsageError(
            f"{option}: {name} {word[:20]!r}; expected a number above {kind.leaves:g}, up to {_UP_TO[kind]:g}"
        )
    return name, number


def _thetas(moves: npt.NDArray[np.float64], image_hw: tuple[int, int]) -> MoveThetas:
    """(M, 4) -> (M, 2, 3): a point of the moved picture is shifted back, turned back, and brought to its old size."""
    found = np.empty((len(moves), 2, 3))
    for place, (angle, across, down, log_scale) in enumerate(moves):
        turn = Disturbance(Kind.ROTATE, float(angle)).theta(image_hw, 0)[:, :2].astype(np.float64)
        linear = turn * math.exp(-log_scale)
        found[place] = np.column_stack([linear, linear @ (-2 * np.array([across, down]))])
    return found
