"""Measures of whether a map is honest: does it point at the object, and does the answer go with what it points at."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.evaluation.answer import Answers, softmax
from lstn.explanation.occlusion import Heat
from lstn.explanation.onto_photo import onto_photo
from lstn.images import Pixels
from lstn.imaging.framing import BLACK, Colour
from lstn.warps.warp import CropSampling, Theta

Region: TypeAlias = npt.NDArray[np.bool_]
"""(H, W): the pixels of an object."""

_PRIOR_WIDTH = 0.25
"""Standard deviation of the centre prior, as a share of each side."""


def region_of(pose: Theta, image_hw: tuple[int, int]) -> Region:
    """Return the pixels of the object whose pose, (2, 3), is known (`lstn.data.poses`)."""
    return onto_photo(np.ones(image_hw), pose, CropSampling(BLACK), image_hw) > 0


def centre_prior(image_hw: tuple[int, int]) -> Heat:
    """Return the map that knows nothing but that objects are often in the middle: (H, W), a bell around it."""
    y, x = (np.linspace(-1, 1, side) / (2 * _PRIOR_WIDTH) for side in image_hw)
    return np.asarray(np.exp(-(np.square(y)[:, None] + np.square(x)) / 2))


def points_at(heat: Heat, region: Region) -> float:
    """Play the pointing game (Zhang et al. 2016): 1 if the map's largest value lies in the region, and 0 if not.

    Where several pixels have that value, the share of them that does.
    """
    return float(region[heat == heat.max()].mean())


def energy_inside(heat: Heat, region: Region) -> float:
    """Return the share of a map's positive values that lies in the region (Wang et al. 2020), 0..1."""
    positive = np.maximum(heat, 0)
    total = float(positive.sum())
    return float(positive[region].sum()) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Curves:
    """Mean probability of the label while pixels are taken away, and while they are put back, most important first."""

    deletion: float
    insertion: float


def deletion_insertion(
    answer: Answers, pixels: Pixels, heat: Heat, label: int, *, fill: Colour, steps: int = 20
) -> Curves:
    """Take the pixels of one picture (H, W, 3) away in a map's order, and put them back in it (Petsiuk et al. 2018).

    fill:  the colour of a pixel that is away
    steps: between all of the picture and nothing of it

    A faithful map's deletion is low and its insertion is high; a random order says what low and high are.
    """
    order = np.argsort(-heat.ravel(), kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    first = rank.reshape(heat.shape) < (np.linspace(0, order.size, steps + 1))[:, None, None]
    empty = np.full_like(pixels, fill)
    means = []
    for whole, away in ((pixels, empty), (empty, pixels)):
        logits, _ = answer(np.where(first[..., None], away, whole))
        means.append(float(softmax(logits)[:, label].mean()))
    return Curves(*means)
