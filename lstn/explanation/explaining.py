"""Explanations of one picture after another: the maps that are wanted, all on the picture itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import Contract
from lstn.evaluation.answer import Answers, softmax
from lstn.explanation.methods import Method
from lstn.explanation.occlusion import Heat, Occlusion, Window, by_pixel, finite_answer, occlude
from lstn.explanation.onto_photo import onto_photo
from lstn.images import Pixels
from lstn.report.wording import counted
from lstn.warps.warp import Theta, sampling_of, warps_of

CropMap: TypeAlias = Callable[[Pixels, int], Sequence[Heat]]
"""One picture (H, W, 3) uint8 and the index of a label -> what of each crop speaks for it, (h, w)."""


_POINT, _SHIFT_PX = 0.01, 0.1
"""The smallest fall of a probability, and move of a warp in pixels, that are told as a number."""


@dataclass(frozen=True, slots=True)
class Explainable:
    """A model that can be explained.

    answer:    what it answers to at most `max_batch` pictures
    crop_maps: methods that need the network itself, and so a checkpoint
    """

    contract: Contract
    answer: Answers
    max_batch: int
    crop_maps: Mapping[Method, CropMap] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """A map on the picture, (H, W).

    shows:   what, in a few words
    largest: the most that one window did, with its unit; of other maps, whose values have none, only if it is nothing
    least:   a map whose values are all smaller is drawn pale, so that nothing doesn't look like much
    """

    heat: Heat
    shows: str
    largest: str = ""
    least: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What moves a model's answer to one picture.

    pixels:    (H, W, 3) uint8, what the model saw
    label:     the index that the maps are about, the most probable one
    probabilities: (K,)
    theta:     float32, or None for a model without a transformer
    occlusion: every number of it, where it was wanted
    """

    pixels: Pixels
    label: int
    probabilities: npt.NDArray[np.float32]
    theta: Theta | None
    maps: tuple[HeatMap, ...]
    occlusion: Occlusion | None


def explain(
    model: Explainable,
    pixels: Pixels,
    methods: Sequence[Method],
    window: Window,
    *,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Explanation:
    """Explain the model's answer to one picture (H, W, 3) uint8.

    methods: occlusion, and those of `model.crop_maps`
    batch, advance: as for `occlude`

    Raises:
        ArtifactError: the model answers with numbers that are not finite.
    """
    sampling = sampling_of(model.contract)
    occlusion = None
    if Method.OCCLUSION in methods:
        occlusion = occlude(model.answer, pixels, window, fill=sampling.outside, batch=batch, advance=advance)
        probabilities, theta = occlusion.probabilities, occlusion.theta
    else:
        logits, thetas = finite_answer(*model.answer(pixels[None]))
        probabilities, theta = softmax(logits)[0], None if thetas is None else thetas[0]
        advance(1)
    label, hw = int(probabilities.argmax()), (pixels.shape[0], pixels.shape[1])
    maps = [] if occlusion is None else _occlusion_maps(occlusion, window, hw)
    for method in methods:
        if method in model.crop_maps:
            heats = model.crop_maps[method](pixels, label)
            warps = [None] if theta is None else list(warps_of(theta))
            carried = [onto_photo(heat, warp, sampling, hw) for heat, warp in zip(heats, warps, strict=True)]
            heat = np.sum(carried, axis=0)
            maps.append(HeatMap(heat, method.value, "" if heat.any() else "nothing"))
    return Explanation(pixels, label, probabilities, theta, tuple(maps), occlusion)


def points(fall: float, before: str = "") -> str:
    """Return how far a probability fell; `before` goes in front of a number that is not too small to be one."""
    return f"{before}{counted(round(100 * fall), 'point')}" if fall >= _POINT else "less than a point"


def shift(moved_px: float, before: str = "") -> str:
    """Return how far a warp moved, as `points` does."""
    return f"{before}{moved_px:.1f} px" if moved_px >= _SHIFT_PX else f"less than {_SHIFT_PX} px"


def _occlusion_maps(found: Occlusion, window: Window, image_hw: tuple[int, int]) -> list[HeatMap]:
    label = HeatMap(by_pixel(found.fall, window, image_hw), "moves the label", points(found.fall.max()), _POINT)
    if found.moved_px is None:
        return [label]
    warp = by_pixel(found.moved_px, window, image_hw)
    return [label, HeatMap(warp, "moves the warp", shift(found.moved_px.max()), _SHIFT_PX)]
