"""Candidates: the files that a model can become, each for one engine, and what each costs in accuracy and drift."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lstn.contract import Contract
from lstn.data.dataset import Split
from lstn.data.splits import spaced
from lstn.errors import LstnError
from lstn.files import sha256_of
from lstn.formats.engine_kind import EngineKind
from lstn.precision import Precision
from lstn.report.wording import counted
from lstn.runtime.engines.opening import open_engine
from lstn.terminal import note
from lstn.waiting import working
from lstn.warps.warp import Theta, drift_px

IMAGES = 500
"""How many validation images tell what a candidate costs: one that is answered otherwise is 0.2 points."""

_BATCH = 16


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A file that a model can become.

    precision: None for float32
    crop_hw:   height and width of what the backbone gets, in pixels
    """

    engine: EngineKind
    precision: Precision | None
    crop_hw: tuple[int, int]
    path: Path

    def __str__(self) -> str:
        precision = "fp32" if self.precision is None else self.precision.value
        return f"{self.engine.value} {precision} crop {'x'.join(map(str, dict.fromkeys(self.crop_hw)))}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file, and what it costs against the model as it comes.

    top1:     share of the images that it puts right, 0..1
    drop:     points of top-1 accuracy that it loses
    drift_px: of the 99th percentile of the images; None without a transformer
    beyond:   which limit it is beyond; empty: it may be used
    """

    version: ModelVersion
    sha256: str
    top1: float
    drop: float
    drift_px: float | None
    beyond: str = ""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a candidate may cost: points of top-1 accuracy, and pixels by which 1 % of the warps move or more."""

    max_drop: float
    max_drift_px: float | None = None

    def beyond(self, drop: float, drift_px: float | None) -> str:
        """Say which limit these figures are beyond, or return an empty text."""
        told = []
        if drop > self.max_drop + 1e-9:
            told.append(f"loses {drop:.2f} points, more than {self.max_drop:g}")
        if self.max_drift_px is not None and drift_px is not None and drift_px > self.max_drift_px:
            told.append(f"drifts by {drift_px:.3f} px, more than {self.max_drift_px:g}")
        return "; ".join(told)


def judged_files(
    versions: Sequence[ModelVersion], split: Split, limits: QualityLimits, *, count: int = IMAGES
) -> list[Candidate]:
    """Ask every file about the same `count` images of `split`, and compare it with the first, each with its own engine.

    A file that its engine can't run is left out, with a note that says why.

    Raises:
        LstnError: the first can't be run, or an image can't be read.
    """
    numbers = spaced(len(split), count)
    with working(f"{counted(len(versions), 'file')}: accuracy and drift", len(versions) * len(numbers)) as advance:
        first = _answers(versions[0], split, numbers, advance)
        found = [_candidate(versions[0], first, first, limits)]
        for version in versions[1:]:
            try:
                found.append(_candidate(version, _answers(version, split, numbers, advance), first, limits))
            except LstnError as error:
                note(f"{version} is left out: {error.message}")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """right: (N,) bool, theta: (N, …) float32 or None, of the contract's input size."""

    contract: Contract
    right: npt.NDArray[np.bool_]
    theta: Theta | None


def _answers(version: ModelVersion, split: Split, numbers: Sequence[int], advance: Callable[[int], None]) -> _Answers:
    right, thetas = [], []
    with open_engine(version.path, spin=False) as engine:
        for chosen in _pieces(numbers, min(_BATCH, engine.max_batch)):
            pixels, labels = zip(*(split[number] for number in chosen), strict=True)
            prediction = engine.infer(np.stack(pixels))
            right.append(prediction.logits.argmax(axis=1) == np.array(labels))
            if prediction.theta is not None:
                thetas.append(prediction.theta)
            advance(len(chosen))
        return _Answers(engine.contract, np.concatenate(right), np.concatenate(thetas) if thetas else None)


def _candidate(version: ModelVersion, own: _Answers, first: _Answers, limits: QualityLimits) -> Candidate:
    drop = 100.0 * float(first.right.mean() - own.right.mean())
    drift = None
    if own.theta is not None and first.theta is not None:
        drift = float(np.percentile(drift_px(own.theta, first.theta, own.contract.image_hw), 99))
    beyond = limits.beyond(drop, drift)
    return Candidate(version, sha256_of(version.path), float(own.right.mean()), drop, drift, beyond)


def _pieces(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
