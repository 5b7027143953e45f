"""Drift and other costs of lower precision on real images: accuracy, logits, and how far the crop moves."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from lstn.calibration.lowering_cost import (
    Accuracy,
    BadCase,
    Changed,
    Drift,
    Floats,
    Ints,
    LogitDifference,
    LoweringCost,
    PerImage,
)
from lstn.calibration.noise import LayerNoise, measure_noise
from lstn.calibration.swap import with_theta_input
from lstn.contract import LOGITS, PIXELS, THETA, Contract, Loc
from lstn.data.dataset import Split
from lstn.data.splits import spaced
from lstn.errors import DataError, UsageError, VerificationError
from lstn.formats.onnx_file import read_model
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working
from lstn.warps.warp import Theta, drift_px

IMAGES = 500
"""How many images are measured: one that answers otherwise is then 0.2 points, and five lie beyond p99."""

NOISE_IMAGES = 64
"""How many of them the layers' signal to noise is taken from; each brings thousands of numbers a layer."""

_BATCH, _NOISE_BATCH = 16, 8
_TOP, _TOP_CLASSES = 5, 6
"""top-5 of five classes is always right."""
_WORST = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """What is kept of images; where a second axis has two entries, the first is the reference's or the warp's.

    label: (N,); predicted: (N, 2); difference, mean_difference: (N,), of the logits; in_top5: (N, 2) bool
    changed: (N, 2) bool, by warp and by backbone; thetas: (N, 2, …); both (N, 0, …) without a transformer
    """

    label: Ints
    predicted: Ints
    difference: Floats
    mean_difference: Floats
    in_top5: npt.NDArray[np.bool_]
    changed: npt.NDArray[np.bool_]
    thetas: npt.NDArray[np.float32]


def measure(reference: Path, lowered: Path, split: Split, *, count: int = IMAGES) -> LoweringCost:
    """Compare two ONNX files of one contract, float32 and lowered, on `count` images spread over `split`.

    Both run in ONNX Runtime on the CPU, and so must be able to. Images are decoded a batch at a time, and no logits are
    kept.

    Raises:
        UsageError: the files are of different contracts.
        DataError: the split is empty, or of other classes.
        ArtifactError: not a file of lstn, or ONNX Runtime can't run it.
        VerificationError: a model answers with what is not finite.
    """
    contract = _common_contract(reference, lowered)
    if not len(split):
        raise DataError("the validation split holds no image", hint="measure on a data set that has some")
    indices = np.array(spaced(len(split), count))
    models = _Pair(reference, lowered, warped=contract.loc is not Loc.NONE)
    found = _joined(
        models.compare(pixels, _checked(labels, contract))
        for pixels, labels in _decoded(split, indices, _BATCH, f"measuring {lowered.name}")
    )
    del models
    few = indices[spaced(len(indices), NOISE_IMAGES)]
    batches = (pixels for pixels, _ in _decoded(split, few, _NOISE_BATCH, "layer by layer"))
    noise = measure_noise(onnx.load(reference), onnx.load(lowered), batches, name=lowered.name)
    return _cost(contract, split, indices, found, noise, len(few))


class _Pair:
    """Both models, and each one's backbone behind the other's warp."""

    def __init__(self, reference: Path, lowered: Path, *, warped: bool) -> None:
        self._names = (reference.name, lowered.name)
        self._full = tuple(OnnxSession(path, path.name) for path in (reference, lowered))
        self._outputs = [LOGITS, THETA] if warped else [LOGITS]
        self._backbones = (
            [
                OnnxSession(with_theta_input(onnx.load(path)).SerializeToString(), path.name)
                for path in (reference, lowered)
            ]
            if warped
            else []
        )

    def compare(self, pixels: Pixels, label: Ints) -> _Images:
        """Run all of them.

        Raises:
            VerificationError: one answers with what is not finite.
        """
        (logits, *theta), (lowered, *lowered_theta) = (
            [
                _finite(values, f"{name} computes {output}")
                for values, output in zip(session.run({PIXELS: pixels}, self._outputs), self._outputs, strict=True)
            ]
            for session, name in zip(self._full, self._names, strict=True)
        )
        predicted = np.stack([logits.argmax(1), lowered.argmax(1)], axis=1)
        behind = [self._behind(number, pixels, other) for number, other in enumerate([*lowered_theta, *theta])]
        changed = [behind_other.argmax(1) != predicted[:, 0] for behind_other in behind]
        away = np.abs(lowered.astype(np.float64) - logits)
        count = len(pixels)
        return _Images(
            label=label,
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
        return _finite(logits, f"behind the theta of {self._names[1 - number]}, {self._names[number]} computes logits")


def _cost(
    contract: Contract, split: Split, indices: Ints, found: _Images, noise: tuple[LayerNoise, ...], noise_images: int
) -> LoweringCost:
    warped = contract.loc is not Loc.NONE
    drift = drift_px(found.thetas[:, 1], found.thetas[:, 0], contract.image_hw) if warped else None
    right = found.predicted == found.label[:, None]
    per_image = PerImage(indices, found.label, found.predicted[:, 0], found.predicted[:, 1], found.difference, drift)
    return LoweringCost(
        contract=contract,
        images=len(indices),
        split_size=len(split),
        top1=Accuracy(*_means(right)),
        top5=Accuracy(*_means(found.in_top5)) if len(contract.labels) >= _TOP_CLASSES else None,
        agreement=float((found.predicted[:, 0] == found.predicted[:, 1]).mean()),
        logit_difference=LogitDifference(float(found.mean_difference.mean()), float(found.difference.max())),
        drift=None
        if drift is None
        else Drift(*(float(f) for f in (drift.mean(), np.percentile(drift, 99), drift.max()))),
        changed=Changed(*_means(found.changed)) if warped else None,
        layers=noise,
        noise_images=noise_images,
        per_image=per_image,
        worst=tuple(_worst(split, per_image, found.thetas)),
        warnings=tuple(_warnings(contract, found.label, len(split), noise)),
    )


def _worst(split: Split, images: PerImage, thetas: npt.NDArray[np.float32]) -> Iterator[BadCase]:
    by = [-images.logit_difference] if images.drift_px is None else [-images.logit_difference, -images.drift_px]
    for place in np.lexsort(by)[:_WORST]:  # by the last, and where that is equal by the one before
        pixels, _ = split[int(images.index[place])]
        reference, lowered = thetas[place] if len(thetas[place]) else (None, None)
        yield BadCase(int(place), pixels, reference, lowered)


def _means(columns: npt.NDArray[np.bool_]) -> list[float]:
    return [float(share) for share in columns.mean(axis=0)]


def _warnings(contract: Contract, label: Ints, split_size: int, noise: tuple[LayerNoise, ...]) -> Iterator[str]:
    if len(label) < IMAGES:
        where = "all that the split has" if len(label) == split_size else f"of {split_size}"
        yield f"{counted(len(label), 'image')}, {where}: fewer than {IMAGES}, and each is {100 / len(label):.1f} points"
    if len(set(label.tolist())) == 1:
        yield f"all images are of one class, {contract.labels[label[0]]}, so accuracy says little"
    if lost := sum(layer.own_db is None for layer in noise):
        yield f"{lost} of {counted(len(noise), 'node')}: not found in the lowered model, so their noise is not known"


def _joined(batches: Iterable[_Images]) -> _Images:
    columns = zip(*([getattr(batch, field.name) for field in fields(_Images)] for batch in batches), strict=True)
    return _Images(*(np.concatenate(column) for column in columns))


def _common_contract(reference: Path, lowered: Path) -> Contract:
    contract, _ = read_model(reference)
    if read_model(lowered)[0] != contract:
        raise UsageError(
            f"{lowered} and {reference} are not one model: their contracts differ",
            hint="lower the precision of the very file to compare with: lstn calibrate",
        )
    return contract


def _decoded(split: Split, indices: Ints, batch: int, doing: str) -> Iterator[tuple[Pixels, Ints]]:
    """Yield pixels (N, H, W, 3) uint8 and labels (N,) int64."""
    with working(f"{doing} on {counted(len(indices), 'image')}", len(indices)) as advance:
        batch = batch_of(split[0][0].shape[:2], batch)
        for start in range(0, len(indices), batch):
            pixels, labels = zip(*(split[int(index)] for index in indices[start : start + batch]), strict=True)
            yield np.stack(pixels), np.array(labels, dtype=np.int64)
            advance(len(labels))


def _checked(labels: Ints, contract: Contract) -> Ints:
    if labels.max() >= len(contract.labels):
        raise DataError(
            f"an image is of class {labels.max()}, and the model knows {counted(len(contract.labels), 'class')}",
            hint="measure on the data set that the model was trained on",
        )
    return labels


def _finite(values: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise VerificationError(
            f"{what} that are not finite", hint="a weight or an activation is beyond what its type holds"
        )
    return values


def _in_top5(logits: npt.NDArray[np.float32], label: Ints) -> npt.NDArray[np.bool_]:
    own = np.take_along_axis(logits, label[:, None], axis=1)
    return np.asarray((logits > own).sum(axis=1) < _TOP)
