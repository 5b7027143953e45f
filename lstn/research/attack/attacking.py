"""All attacks on a checkpoint, and what its engines say to the pictures that came of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lstn.contract import CONTROLS, Loc
from lstn.data.splits import Split
from lstn.evaluation.measuring import Answering
from lstn.images import Pixels
from lstn.nn.classifier import Classifier
from lstn.research.attack.attack_report import AS_THEY_ARE, CropOutcome, LabelOutcome, WarpOutcome
from lstn.research.attack.balls import BallNorm, somewhere
from lstn.research.attack.label_attacks import LabelAttack, attack_labels
from lstn.research.attack.warp_attacks import mislead_by_warp, move_warp
from lstn.warps.warp import drift_px

BATCH = 32
MOST_LEVELS = 64
"""Grey levels beyond which no change is sought that moves the crop."""

_LEVELS = 255.0


@dataclass(frozen=True, slots=True)
class AttackRequest:
    """What is attacked, and how hard.

    linf, l2: bounds of attacks on the label: grey levels of 255; of pixels from 0 to 1
    steps:    of every ascent
    starts:   of PGD
    move_px:  by how many pixels a crop is to be moved
    """

    linf: tuple[float, ...] = (2.0, 8.0, 32.0)
    l2: tuple[float, ...] = ()
    steps: int = 20
    starts: int = 2
    move_px: float = 2.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Job:
    """One attack on the label with one bound, which is in grey levels for both norms."""

    name: str
    kind: LabelAttack
    norm: BallNorm
    bound: float
    starts: int = 1

    @property
    def shown_bound(self) -> float:
        return self.bound if self.norm is BallNorm.LINF else self.bound / _LEVELS


def jobs_of(request: AttackRequest) -> list[_Job]:
    """Return the attacks on the label, those of one bound together, the strongest last."""
    found = []
    bounds = [(BallNorm.LINF, bound) for bound in request.linf]
    bounds += [(BallNorm.L2, _LEVELS * bound) for bound in request.l2]
    for norm, bound in bounds:
        found += [
            _Job("noise", LabelAttack.NOISE, norm, bound),
            _Job("FGSM", LabelAttack.FGSM, norm, bound),
            _Job("PGD", LabelAttack.PGD, norm, bound),
        ]
        if request.starts > 1:
            found.append(_Job(f"PGD, {request.starts} starts", LabelAttack.PGD, norm, bound, request.starts))
    return found


def has_warp(model: Classifier) -> bool:
    """Say whether a model has a crop that depends on the picture."""
    return model.contract.loc not in (Loc.NONE, *CONTROLS)


def rounds_of(request: AttackRequest, model: Classifier) -> int:
    """Return how often `attack_all` says that it has finished an image."""
    return len(jobs_of(request)) + (2 if has_warp(model) else 0)


def attack_all(
    model: Classifier,
    targets: Mapping[str, Answering],
    images: Split,
    chosen: Sequence[int],
    request: AttackRequest,
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[int, tuple[LabelOutcome, ...], WarpOutcome | None, CropOutcome | None]:
    """Attack `model` on these images, and ask every target about the pictures that came of it.

    Returns: from `commonest` on what `AttackReport` holds.

    model:   in evaluation mode, its weights frozen
    targets: the model itself first, and engines made of it
    """
    gathered = _Gathered(model, targets, request)
    for start in range(0, len(chosen), BATCH):
        read = [images[number] for number in chosen[start : start + BATCH]]
        gathered.add(np.stack([pixels for pixels, _ in read]), np.array([label for _, label in read]), advance)
    return max(gathered.labelled.values()), gathered.labels(), gathered.warp(), gathered.crop()


class _Gathered:
    """What came of the attacks so far."""

    def __init__(self, model: Classifier, targets: Mapping[str, Answering], request: AttackRequest) -> None:
        self._model, self._targets, self._request = model, targets, request
        self._jobs = jobs_of(request)
        self.labelled: Counter[int] = Counter()
        self._right = [dict.fromkeys(targets, 0) for _ in range(1 + len(self._jobs))]
        self._size: list[npt.NDArray[np.float64]] = []
        self._noise: list[npt.NDArray[np.float64]] = []
        self._drift: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in targets}
        self._followed = dict.fromkeys(targets, 0)
        self._crop: list[npt.NDArray[np.float64]] = []
        self._random = 0
        self._seed = request.seed

    def add(self, pixels: Pixels, labels: npt.NDArray[np.int64], advance: Callable[[int], None]) -> None:
        """Attack (N, H, W, 3) uint8."""
        device = self._model.scale.device
        start, truth = torch.from_numpy(pixels).to(device).float(), torch.from_numpy(labels).to(device)
        self._count(0, pixels, labels)
        self.labelled.update(labels.tolist())
        self._seed += 1  # other draws in each batch
        for place, job in enumerate(self._jobs, 1):
            found = attack_labels(
                self._model, start, truth, job.kind, job.norm, job.bound,
                steps=self._request.steps, starts=job.starts, seed=self._seed,
            )  # fmt: skip
            self._count(place, _whole(found), labels)
            advance(len(pixels))
        if has_warp(self._model):
            self._move_warps(pixels, start)
            advance(len(pixels))
            half = min(self._model.contract.image_hw) / 2
            drift, random = mislead_by_warp(
                self._model, start, most_px=half, steps=self._request.steps, seed=self._seed
            )
            self._crop.append(drift.double().cpu().numpy())
            self._random += int(random.sum())
            advance(len(pixels))

    def labels(self) -> tuple[LabelOutcome, ...]:
        """Return what the attacks on the label leave."""
        outcomes = [LabelOutcome(AS_THEY_ARE, "", 0.0, self._right[0])]
        for job, right in zip(self._jobs, self._right[1:], strict=True):
            outcomes.append(LabelOutcome(job.name, job.norm.value, job.shown_bound, right))
        return tuple(outcomes)

    def warp(self) -> WarpOutcome | None:
        """Return what moves the crops."""
        if not self._size:
            return None
        sizes = np.concatenate(self._size)
        drift = {name: _median_of(found) for name, found in self._drift.items() if found}
        return WarpOutcome(
            self._request.move_px, MOST_LEVELS, int(np.isfinite(sizes).sum()), float(np.median(sizes)),
            _median_of(self._noise), drift, {name: self._followed[name] for name in drift},
        )  # fmt: skip

    def crop(self) -> CropOutcome | None:
        """Return which moves of the crops change the label."""
        if not self._crop:
            return None
        drifts, half = np.concatenate(self._crop), min(self._model.contract.image_hw) / 2
        return CropOutcome(half, int(np.isfinite(drifts).sum()), float(np.median(drifts)), self._random)

    def _count(self, place: int, pixels: Pixels, labels: npt.NDArray[np.int64]) -> None:
        for name, target in self._targets.items():
            self._right[place][name] += int((target.classify(pixels).argmax(1) == labels).sum())

    def _move_warps(self, pixels: Pixels, start: Tensor) -> None:
        request, hw = self._request, self._model.contract.image_hw
        found = move_warp(self._model, start, request.move_px, most=MOST_LEVELS, steps=request.steps, seed=self._seed)
        sizes = found.size.double().cpu().numpy()
        moved = np.isfinite(sizes)
        self._size.append(sizes)
        if not moved.any():
            return
        drawn = torch.Generator().manual_seed(self._seed)
        bound = torch.where(found.size.isfinite(), found.size, 0.0)
        noise = somewhere(start, BallNorm.LINF, bound, drawn, on_edge=True)
        changed, noisy = _whole(found.pixels)[moved], _whole((start + noise).clamp(0, 255))[moved]
        for place, (name, target) in enumerate(self._targets.items()):
            if target.locate is None:
                continue
            before = target.locate(pixels[moved])
            self._drift[name].append(drift_px(target.locate(changed), before, hw))
            same = target.classify(changed).argmax(1) == target.classify(pixels[moved]).argmax(1)
            self._followed[name] += int((~same).sum())
            if place == 0:
                self._noise.append(drift_px(target.locate(noisy), before, hw))


def _whole(pixels: Tensor) -> Pixels:
    return np.asarray(pixels.round().to(torch.uint8).cpu().numpy())


def _median_of(parts: Sequence[npt.NDArray[np.float64]]) -> float:
    return float(np.median(np.concatenate(parts))) if parts else float("nan")
