"""Cost of lower precision for a model that tags, on real images: average precision, and the labels that both give."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstn.calibration.cost.compared_models import ComparedModels, answers
from lstn.calibration.cost.lowering_cost import Accuracy, BadCase, Drift, Floats, Ints, LogitDifference, LoweringCost
from lstn.contract import LOGITS, THETA, Loc
from lstn.data.objects import objects_of
from lstn.data.splits import Split
from lstn.formats.onnx_session import OnnxSession
from lstn.tagging.tag_scores import TaggedImages, score_tags, truth_of
from lstn.tagging.tags import has_tags
from lstn.warps.warp import Theta, drift_px

_WORST = 10


@dataclass(frozen=True, slots=True, eq=False)
class PerTagged:
    """One entry for each image.

    index: (N,) int64 places in the split; labels, reference, lowered, both: (N,) int64, how many labels it has, how
           many each model gives it, and how many of these are the same
    logit_difference: (N,) float64, the largest; drift_px: (N,) float64, None without a transformer
    """

    index: Ints
    labels: Ints
    reference: Ints
    lowered: Ints
    both: Ints
    logit_difference: Floats
    drift_px: Floats | None


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """To how many images each model gives a label, and to how many both do."""

    label: str
    reference: int
    lowered: int
    both: int

    @property
    def agreement(self) -> float:
        """Of the images that either model gives it to, the share that both do, 0..1; 1 if there are none."""
        either = self.reference + self.lowered - self.both
        return self.both / either if either else 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TaggerCost(LoweringCost):
    """What a lowered model that tags costs. The answers that agree: of the labels of images that either model gives,
    the share that both give.

    shown:  labels that the images have, in all of them together
    given:  in the order of the contract
    worst:  by the labels that only one model gives, then by logit difference, the worst first
    """

    mean_average_precision: Accuracy
    macro_f1: Accuracy
    shown: int
    given: tuple[GivenLabel, ...]
    per_image: PerTagged
    worst: tuple[BadCase, ...]

    @property
    def scores(self) -> dict[str, Accuracy]:
        """Mean average precision, and F1 at the thresholds."""
        return {"mean average precision": self.mean_average_precision, "F1, mean over labels": self.macro_f1}

    @property
    def judged(self) -> int:
        """The labels."""
        return max(1, self.shown)


def tagger_cost(models: ComparedModels) -> TaggerCost:
    """Compare two models that tag; see `lstn.calibration.cost.drift.measure_drift`."""
    found = _answered(models)
    logits = [each[0] for each in found]
    truth = truth_of([objects_of(models.split, int(number)) for number in models.numbers], len(models.contract.labels))
    thetas = None if models.contract.loc is Loc.NONE else (found[0][1], found[1][1])
    has, also = (has_tags(each, models.contract) for each in logits)
    one, other = (score_tags([TaggedImages(truth, each)], models.contract) for each in logits)
    away = np.abs(logits[1].astype(np.float64) - logits[0])
    drift = None if thetas is None else drift_px(thetas[1], thetas[0], models.contract.image_hw)
    both, either = has & also, has | also
    shown, one_has, other_has, same = (each.sum(1).astype(np.int64) for each in (truth, has, also, both))
    per_image = PerTagged(models.numbers, shown, one_has, other_has, same, away.max(1), drift)
    noise, noise_images = models.noise()
    counts = zip(models.contract.labels, *(each.sum(0).tolist() for each in (has, also, both)), strict=True)
    return TaggerCost(
        contract=models.contract,
        images=len(truth),
        split_size=len(models.split),
        agreement=float(both.sum() / either.sum()) if either.any() else 1.0,
        logit_difference=LogitDifference(float(away.mean()), float(away.max())),
        drift=None if drift is None else Drift.of(drift),
        layers=noise,
        noise_images=noise_images,
        warnings=tuple(models.warnings(noise)),
        mean_average_precision=Accuracy(one.mean_average_precision, other.mean_average_precision),
        macro_f1=Accuracy(one.macro_f1, other.macro_f1),
        shown=int(truth.sum()),
        given=tuple(GivenLabel(*each) for each in counts),
        per_image=per_image,
        worst=tuple(_worst(models.split, per_image, thetas)),
    )


def _answered(models: ComparedModels) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return logits (N, C) and theta (N, …) of both models; theta is empty without a transformer."""
    files: tuple[Path, Path] = (models.reference, models.lowered)
    outputs = [LOGITS] if models.contract.loc is Loc.NONE else [LOGITS, THETA]
    sessions = [OnnxSession(file, file.name) for file in files]
    parts: list[list[tuple[np.ndarray, ...]]] = [[], []]
    for _, pixels, _ in models.batches():
        for of_model, session, file in zip(parts, sessions, files, strict=True):
            of_model.append(answers(session, pixels, outputs, file))
    joined = [[np.concatenate(each) for each in zip(*of_model, strict=True)] for of_model in parts]
    return [(logits, theta[0] if theta else np.empty(0, np.float32)) for logits, *theta in joined]


def _worst(split: Split, images: PerTagged, thetas: tuple[Theta, Theta] | None) -> Iterator[BadCase]:
    apart = images.reference + images.lowered - 2 * images.both
    order = np.lexsort([-images.logit_difference, -apart])  # by the last, and where that is equal by the one before
    for place in order[:_WORST]:
        pixels, _ = split[int(images.index[place])]
        reference, lowered = (None, None) if thetas is None else (thetas[0][place], thetas[1][place])
        yield BadCase(int(place), pixels, reference, lowered)
