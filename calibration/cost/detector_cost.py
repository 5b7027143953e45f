"""Cost of lower precision for a detector on real images: average precision, which objects it finds, and their drift.

Two regions of nearly the same score may change places, and the last of an image's K may be another one. So a region is
compared with the nearest of the other model, wherever that stands.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from lstn.calibration.cost.compared_models import ComparedModels, answers
from lstn.calibration.cost.lowering_cost import (
    Accuracy,
    BadScene,
    DetectorCost,
    Drift,
    Floats,
    LogitDifference,
    PerScene,
    PrecisionPair,
    ShownObjects,
)
from lstn.contract import LOGITS, THETA, Contract, ThetaForm
from lstn.data.objects import Objects, objects_of
from lstn.detection.average_precision import AveragePrecision
from lstn.detection.detecting import score_detections
from lstn.detection.region_order import nearest_regions
from lstn.detection.suppression import LEAST_SCORE, OVERLAP, SHOWN_SCORE, Detection, detections
from lstn.evaluation.answer import Logits
from lstn.formats.onnx_session import OnnxSession
from lstn.warps.quadrilaterals import overlaps
from lstn.warps.warp import Theta, drift_px

_WORST = 10

_Found: TypeAlias = tuple[Detection, ...]


class _Regions(NamedTuple):
    """A model's answer to one image: (K, C + 1) and (K, 2, 3) float32."""

    logits: Logits
    theta: Theta


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What is kept of one image; of pairs, the first is the reference's.

    found: what counts for average precision; shown: what of it has a score that is shown; both: how many both show
    drift_px, region_drift_px: of what the reference shows, and of its K regions: how far the nearest other one lies
    away, mean_away: (R,) of those of the K regions that both have: the largest and the mean difference of their logits
    """

    truth: Objects
    found: tuple[_Found, _Found]
    shown: tuple[_Found, _Found]
    both: int
    drift_px: Floats
    region_drift_px: Floats
    away: Floats
    mean_away: Floats


def detector_cost(models: ComparedModels) -> DetectorCost:
    """Compare two detectors; see `lstn.calibration.cost.drift.measure_drift`."""
    files = models.reference, models.lowered
    sessions = tuple(OnnxSession(file, file.name) for file in files)
    scenes: list[_Scene] = []
    for numbers, pixels, _ in models.batches():
        reference, lowered = (
            [_Regions(*each) for each in zip(*answers(session, pixels, [LOGITS, THETA], file), strict=True)]
            for session, file in zip(sessions, files, strict=True)
        )
        truths = [objects_of(models.split, int(number)) for number in numbers]
        scenes += [_scene(models.contract, *each) for each in zip(truths, reference, lowered, strict=True)]
    del sessions
    return _cost(models, scenes)


def same_objects(one: Sequence[Detection], other: Sequence[Detection]) -> list[tuple[int, int]]:
    """Return the pairs that stand for one object: of one class, and overlapping by a half or more.

    Each of `one`, in its order, takes the one of the others left that overlaps it most.
    """
    if not (one and other):
        return []
    shared = overlaps(*(np.stack([each.theta for each in found]) for found in (one, other)))
    same = np.array([[a.label == b.label for b in other] for a in one])
    shared = np.where(same & (shared >= OVERLAP), shared, 0.0)
    pairs = []
    for number in range(len(one)):
        best = int(shared[number].argmax())
        if shared[number, best] > 0:
            pairs.append((number, best))
            shared[:, best] = 0
    return pairs


def _scene(contract: Contract, truth: Objects, reference: _Regions, lowered: _Regions) -> _Scene:
    near = _nearest(lowered, reference.theta)
    again = overlaps(reference.theta, near.theta).diagonal() >= OVERLAP
    away = np.abs(near.logits.astype(np.float64) - reference.logits)[again]
    one, other = (detections(*each, contract.labels, least=LEAST_SCORE) for each in (reference, lowered))
    shown = _shown(one), _shown(other)
    of_shown = np.reshape([each.theta for each in shown[0]], (-1, 2, 3)).astype(np.float32)
    return _Scene(
        truth=truth,
        found=(one, other),
        shown=shown,
        both=len(same_objects(*shown)),
        drift_px=drift_px(_nearest(lowered, of_shown).theta, of_shown, contract.image_hw),
        region_drift_px=drift_px(near.theta, reference.theta, contract.image_hw),
        away=away.max(axis=1),
        mean_away=away.mean(axis=1),
    )


def _nearest(regions: _Regions, theta: Theta) -> _Regions:
    """Return for each theta (M, 2, 3) the nearest of the regions."""
    order = nearest_regions(regions.theta[None], of=theta[None])[0]
    return _Regions(regions.logits[order], regions.theta[order])


def _shown(found: _Found) -> _Found:
    return tuple(each for each in found if each.score >= SHOWN_SCORE)


def _cost(models: ComparedModels, scenes: Sequence[_Scene]) -> DetectorCost:
    contract = models.contract
    drift, region_drift, away, mean_away = (
        np.concatenate([getattr(scene, name) for scene in scenes])
        for name in ("drift_px", "region_drift_px", "away", "mean_away")
    )
    upright, turned = _precisions(contract, scenes)
    per_image = _per_image(models, scenes)
    shown = ShownObjects(*(int(each.sum()) for each in (per_image.reference, per_image.lowered, per_image.both)))
    either = shown.reference + shown.lowered - shown.both
    noise, noise_images = models.noise()
    return DetectorCost(
        contract=contract,
        images=len(scenes),
        split_size=len(models.split),
        agreement=shown.both / either if either else 1.0,
        logit_difference=LogitDifference(*((mean_away.mean().item(), away.max().item()) if len(away) else (0.0, 0.0))),
        drift=Drift.of(drift) if len(drift) else None,
        layers=noise,
        noise_images=noise_images,
        warnings=tuple(models.warnings(noise)),
        objects=int(per_image.objects.sum()),
        upright=upright,
        turned=turned,
        shown=shown,
        regions=len(away) / len(region_drift),
        region_drift=Drift.of(region_drift),
        per_image=per_image,
        worst=tuple(_worst(models, per_image, scenes)),
    )


def _precisions(contract: Contract, scenes: Sequence[_Scene]) -> tuple[PrecisionPair, PrecisionPair | None]:
    """Average precision of upright boxes, and of turned ones where boxes may be turned."""
    one, other = (
        score_detections([(scene.truth, scene.found[which]) for scene in scenes], contract.labels, contract.image_hw)
        for which in (0, 1)
    )
    upright = _pair(one.upright, other.upright)
    return upright, None if contract.theta is ThetaForm.CROP else _pair(one.turned, other.turned)


def _pair(one: AveragePrecision, other: AveragePrecision) -> PrecisionPair:
    return PrecisionPair(Accuracy(one.ap or 0.0, other.ap or 0.0), Accuracy(one.ap50 or 0.0, other.ap50 or 0.0))


def _per_image(models: ComparedModels, scenes: Sequence[_Scene]) -> PerScene:
    counts = [(len(scene.truth), *map(len, scene.shown), scene.both) for scene in scenes]
    largest = [(scene.away.max(initial=0.0), scene.drift_px.max(initial=0.0)) for scene in scenes]
    return PerScene(models.numbers, *np.array(counts, np.int64).T, *np.array(largest, np.float64).T)


def _worst(models: ComparedModels, images: PerScene, scenes: Sequence[_Scene]) -> Iterator[BadScene]:
    apart = images.reference + images.lowered - 2 * images.both
    for place in np.lexsort([-images.drift_px, -apart])[:_WORST]:  # by the last, and where equal by the one before
        pixels, _ = models.split[int(models.numbers[place])]
        yield BadScene(int(place), pixels, *scenes[place].shown)
