"""Accuracy under the worst of many moves of each picture, next to that under a random one (Engstrom et al. 2019).

    Exploring the landscape of spatial robustness, https://arxiv.org/abs/1712.02779

A picture counts if its label is right as it is and under every move. Engstrom et al. found such a grid to be a stronger
attack than any gradient, and it needs none: any engine can be asked. Pictures are moved as for follow, and go on
outside as a mirror image, so that no black border gives the move away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.data.splits import Split
from lstn.errors import ArtifactError
from lstn.evaluation.measured_follow import sampled_at
from lstn.evaluation.move_bounds import MoveBounds
from lstn.evaluation.scores import wilson
from lstn.images import Pixels
from lstn.interval import Interval
from lstn.report.table import Table
from lstn.report.wording import counted

_AT_ONCE_BYTES = 64 << 20
"""Of moved pictures in memory."""


@dataclass(frozen=True, slots=True)
class WorstCase:
    """What moves within bounds cost.

    images:  pictures that were moved
    upright: of them, those whose label is right as they are
    mean:    share of right labels over pictures and moves, 0..1: what a random move of the set leaves
    worst:   pictures whose label is right as they are and under every move
    """

    bounds: MoveBounds
    images: int
    upright: int
    mean: float
    worst: int

    def rows(self) -> dict[str, Interval]:
        """Return the three accuracies in per cent, by name.

        The interval of the mean is over pictures, as if all moves of one picture were right or wrong together: too
        wide rather than too narrow.
        """
        among = {
            "as they are": self.upright,
            "a random move": self.mean * self.images,
            f"worst of {self.bounds.count}": self.worst,
        }
        return {name: wilson(right, self.images) for name, right in among.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, accuracies from 0 to 1."""
        bounds = self.bounds
        limits = {"rotate": bounds.rotate, "shift": bounds.shift, "scale": bounds.scale, "random": bounds.draws}
        shares = {
            name: {"top1": row.value / 100, "interval": [row.low / 100, row.high / 100]}
            for name, row in zip(("upright", "mean", "worst"), self.rows().values(), strict=True)
        }
        return limits | {"moves": bounds.count, "images": self.images} | shares


def measure_worst(
    classify: Callable[[Pixels], npt.NDArray[np.float32]],
    images: Split,
    bounds: MoveBounds,
    *,
    batch: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> WorstCase:
    """Move each image, and count how often its label stays right; `advance` hears the number of images finished.

    classify: (N, H, W, 3) uint8 -> logits (N, K) float32
    batch:    images that it takes at once
    seed:     of moves that are drawn

    Raises:
        ArtifactError: a logit is not finite.
    """
    upright, worst, mean = 0, 0, 0.0
    for number in range(len(images)):
        pixels, label = images[number]
        right = _right(classify, pixels, label, bounds.thetas(pixels.shape[:2], number, seed), batch)
        upright += bool(right[0])
        mean += float(right[1:].mean())
        worst += bool(right.all())
        advance(1)
    return WorstCase(bounds, len(images), upright, mean / len(images), worst)


def _right(
    classify: Callable[[Pixels], npt.NDArray[np.float32]],
    pixels: Pixels,
    label: int,
    thetas: npt.NDArray[np.float64],
    batch: int,
) -> npt.NDArray[np.bool_]:
    """Return whether the label is right: of the picture as it is, and then under each move, (1 + M,)."""
    step = max(1, min(batch, _AT_ONCE_BYTES // pixels.nbytes))
    found = [classify(pixels[None])]
    found += [classify(sampled_at(pixels, thetas[start : start + step])) for start in range(0, len(thetas), step)]
    logits = np.concatenate(found)
    if not np.isfinite(logits).all():
        raise ArtifactError(
            "the model's answers to moved images are not finite",
            hint="a lower precision may be too narrow for it; evaluate the float32 model",
        )
    return np.asarray(logits.argmax(axis=1) == label)


def worst_table(found: WorstCase) -> Table:
    """Return a row for the images as they are, under a random move, and under the worst."""
    plain = found.upright / found.images * 100
    rows = []
    for name, row in found.rows().items():
        change = "" if row.value == plain else f"{row.value - plain:+.1f}"
        rows.append((name, f"{row.value:.2f}", change, f"{row.low:.1f} to {row.high:.1f}"))
    note = (
        f"{counted(found.images, 'image')}, {found.bounds.describe()}. Bilinear, mirrored outside. Worst: right as it "
        "is and under every move."
    )
    return Table("Accuracy under moves", ("", "top-1 %", "points", "95 % interval"), tuple(rows), 1, note)
