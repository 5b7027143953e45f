"""Cost of lower precision for a classifier on real images: accuracy, logits, and how far the crop moves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from lstn.calibration.cost.compared_models import ComparedModels, answers, finite
from lstn.calibration.cost.lowering_cost import (
    Accuracy,
    BadCase,
    CalibrationErrors,
    Changed,
    ClassifierCost,
    Drift,
    Floats,
    Ints,
    LogitDifference,
    PerImage,
)
from lstn.calibration.cost.swap import with_theta_input
from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.data.dataset import Split
from lstn.errors import DataError
from lstn.evaluation.answer import Logits
from lstn.evaluation.confidence import ConfidenceTally, fit_temperature
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.report.wording import counted
from lstn.warps.warp import Theta, drift_px

_TOP, _TOP_CLASSES = 5, 6
"""top-5 of five classes is always right."""
_WORST = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """What is kept of images; where a second axis has two entries, the first is the reference's or the warp's.

    label: (N,); logits: (N, 2, K); predicted: (N, 2); difference, mean_difference: (N,), of the logits
    in_top5: (N, 2) bool
    changed: (N, 2) bool, by warp and by backbone; thetas: (N, 2, …); both (N, 0, …) without a transformer
    """

    label: Ints
    logits: Logits
    predicted: Ints
    difference: Floats
    mean_difference: Floats
    in_top5: npt.NDArray[np.bool_]
    changed: npt.NDArray[np.bool_]
    thetas: npt.NDArray[np.float32]


def classifier_cost(models: ComparedModels) -> ClassifierCost:
    """Compare two classifiers; see `lstn.calibration.cost.drift.measure_drift`."""
    pair = _Pair(models.reference, models.lowered, warped=models.contract.loc is not Loc.NONE)
    found = _joined(pair.compare(pixels, _checked(labels, models.contract)) for _, pixels, labels in models.batches())
    del pair
    return _cost(models, found)


class _Pair:
    """Both models, and each one's backbone behind the other's warp."""

    def __init__(self, reference: Path, lowered: Path, *, warped: bool) -> None:
        self._files = (reference, lowered)
        self._full = tuple(OnnxSession(path, path.name) for path in self._files)
        self._outputs = [LOGITS, THETA] if warped else [LOGITS]
        self._backbones = (
            [OnnxSession(with_theta_input(onnx.load(path)).SerializeToString(), path.name) for path in self._files]
            if warped
            else []
        )

    def compare(self, pixels: Pixels, label: Ints) -> _Images:
        """Run all of them.

        Raises:
            VerificationError: one answers with what is not finite.
        """
        (logits, *theta), (lowered, *lowered_theta) = (
            answers(session, pixels, self._outputs, file) for session, file in zip(self._full, self._files, strict=True)
        )
        predicted = np.stack([logits.argmax(1), lowered.argmax(1)], axis=1)
        behind = [self._behind(number, pixels, other) for number, other in enumerate([*lowered_theta, *theta])]
        changed = [behind_other.argmax(1) != predicted[:, 0] for behind_other in behind]
        away = np.abs(lowered.astype(np.float64) - logits)
        count = len(pixels)
        return _Images(
            label=label,
            logits=np.stack([logits, lowered], axis=1),
            predicted=predicted,
            difference=away.max(1),
            mean_difference=away.mean(1),
            in_top5=np.stack([_in_top5(logits, label), _in_top5(lowered, label)], axis=1),
            changed=np.stack(changed, axis=1) if changed else np.empty((count, 0), bool),
            thetas=np.stack([*theta, *lowered_theta], axis=1) if theta else np.empty((count, 0, 2, 3), np.float32),
        )

    def _behind(self, number: int, pixels: Pixels, theta: Theta) -> npt.NDArray[np.float32]:
        """Logits (N, K) of one model's backbone behind the other model's theta."""
        (logits,) = self._backbones[number].run({PIXELS: pixels, THETA: theta}, [LOGITS])
        own, other = self._files[number].name, self._files[1 - number].name
        return finite(logits, f"behind the theta of {other}, {own} computes logits")


def _cost(models: ComparedModels, found: _Images) -> ClassifierCost:
    contract, split, numbers = models.contract, models.split, models.numbers
    warped = contract.loc is not Loc.NONE
    drift = drift_px(found.thetas[:, 1], found.thetas[:, 0], contract.image_hw) if warped else None
    right = found.predicted == found.label[:, None]
    per_image = PerImage(numbers, found.label, found.predicted[:, 0], found.predicted[:, 1], found.difference, drift)
    noise, noise_images = models.noise()
    return ClassifierCost(
        contract=contract,
        images=len(numbers),
        split_size=len(split),
        top1=Accuracy(*_means(right)),
        top5=Accuracy(*_means(found.in_top5)) if len(contract.labels) >= _TOP_CLASSES else None,
        errors=_errors(found.logits, found.label),
        agreement=float((found.predicted[:, 0] == found.predicted[:, 1]).mean()),
        logit_difference=LogitDifference(float(found.mean_difference.mean()), float(found.difference.max())),
        drift=None if drift is None else Drift.of(drift),
        changed=Changed(*_means(found.changed)) if warped else None,
        layers=noise,
        noise_images=noise_images,
        per_image=per_image,
        worst=tuple(_worst(split, per_image, found.thetas)),
        warnings=(*models.warnings(noise), *_of_one_class(contract, found.label)),
    )


def _errors(logits: Logits, label: Ints) -> CalibrationErrors:
    """Return how far the probabilities of float32, of the lowered model, and of that one fitted again are off."""
    temperature = fit_temperature(logits[:, 1], label)
    fitted = logits[:, 1] / np.float32(temperature)

    def error(answered: Logits) -> float:
        tally = ConfidenceTally()
        tally.add(answered, label)
        return tally.confidence().error

    return CalibrationErrors(error(logits[:, 0]), error(logits[:, 1]), error(fitted), temperature)


def _worst(split: Split, images: PerImage, thetas: npt.NDArray[np.float32]) -> Iterator[BadCase]:
    by = [-images.logit_difference] if images.drift_px is None else [-images.logit_difference, -images.drift_px]
    for place in np.lexsort(by)[:_WORST]:  # by the last, and where that is equal by the one before
        pixels, _ = split[int(images.index[place])]
        reference, lowered = thetas[place] if len(thetas[place]) else (None, None)
        yield BadCase(int(place), pixels, reference, lowered)


def _means(columns: npt.NDArray[np.bool_]) -> list[float]:
    return [float(share) for share in columns.mean(axis=0)]


def _of_one_class(contract: Contract, label: Ints) -> Iterator[str]:
    if len(set(label.tolist())) == 1:
        yield f"all images are of one class, {contract.labels[label[0]]}, so accuracy says little"


def _joined(batches: Iterable[_Images]) -> _Images:
    columns = zip(*([getattr(batch, field.name) for field in fields(_Images)] for batch in batches), strict=True)
    return _Images(*(np.concatenate(column) for column in columns))


def _checked(labels: Ints, contract: Contract) -> Ints:
    if labels.max() >= len(contract.labels):
        raise DataError(
            f"an image is of class {labels.max()}, and the model knows {counted(len(contract.labels), 'class')}",
            hint="measure on the data set that the model was trained on",
        )
    return labels


def _in_top5(logits: npt.NDArray[np.float32], label: Ints) -> npt.NDArray[np.bool_]:
    own = np.take_along_axis(logits, label[:, None], axis=1)
    return np.asarray((logits > own).sum(axis=1) < _TOP)
