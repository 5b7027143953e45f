"""Engines of a simulated server: they answer what each image says it is, late, wrong or never, as a seed says."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.support.simulation.scheduler import Scheduler
from lstn.contract import Contract, Loc
from lstn.errors import ArtifactError, DeviceError
from lstn.images import Pixels
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.prediction import Prediction

SIDE = 8
_LABELS = 4
_FOREVER_S = 400.0
"""Longer than anyone waits."""


@dataclass(frozen=True, slots=True)
class EngineFaults:
    """How the engines of one seed are: a mean batch takes `batch_s`; the rest are shares of batches or of openings."""

    batch_s: float
    on_gpu: bool
    fails: float
    no_number: float
    hangs: float


def write_model(path: Path, version: int, *, broken: bool) -> None:
    """Write a model's file, under its name at once."""
    temporary = path.with_name(f"new-{path.name}")
    temporary.write_text(json.dumps({"version": version, "broken": broken}))
    temporary.replace(path)


def version_of(contract: Contract) -> int:
    """Return which version of its file an engine was opened from."""
    return int(contract.labels[0])


def pixels_of_image(number: int) -> Pixels:
    """Return an image (SIDE, SIDE, 3) uint8 that says its number, in its first and in its last pixel."""
    colour = np.array([number >> 16 & 255, number >> 8 & 255, number & 255], np.uint8)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[0, 0] = pixels[-1, -1] = colour
    return pixels


def _numbers_in(pixels: Pixels) -> np.ndarray:
    wide = pixels.astype(np.float32)
    return (wide[..., 0] * 256 + wide[..., 1]) * 256 + wide[..., 2]


class SimulatedEngine(Engine):
    """Answers logits (number, number again, version, model) of each image, and theta full of the number."""

    def __init__(
        self,
        scheduler: Scheduler,
        model: int,
        version: int,
        faults: EngineFaults,
        met: Counter[str],
        computing: "list[SimulatedEngine]",
    ) -> None:
        self.contract = Contract(Loc.LSTN, "cnn", (SIDE, SIDE), (str(version), *"abc"[: _LABELS - 1]))
        self.max_batch = 64
        self.on_gpu = faults.on_gpu
        self._scheduler = scheduler
        self._model = model
        self._version = version
        self._faults = faults
        self._met = met
        self._computing = computing

    def infer(self, pixels: Pixels) -> Prediction:
        """(n, SIDE, SIDE, 3) uint8 -> logits (n, 4), theta (n, 2, 3); a black image, of the warm-up, never fails."""
        scheduler, faults, warms = self._scheduler, self._faults, not pixels.any()
        self._compute()
        roll = scheduler.chance.random()
        if not warms and roll < faults.hangs and not self._met["an engine that hangs"]:
            self._met["an engine that hangs"] += 1
            scheduler.sleep(_FOREVER_S)
        if not warms and roll > 1 - faults.fails:
            self._met["a batch that fails"] += 1
            raise DeviceError("out of memory") if scheduler.chance.random() < 0.5 else RuntimeError("broken")
        first, last = _numbers_in(pixels[:, 0, 0]), _numbers_in(pixels[:, -1, -1])
        same = np.full_like(first, self._version), np.full_like(first, self._model)
        logits = np.stack([first, last, *same], axis=1)
        if not warms and scheduler.chance.random() < faults.no_number:
            self._met["an answer that is not a number"] += 1
            logits[:] = np.nan
        return Prediction(logits, np.repeat(first, 6).reshape(-1, 2, 3))

    def _compute(self) -> None:
        if self._computing and not self.on_gpu:
            raise AssertionError("two engines compute at a time on one CPU")
        self._computing.append(self)
        try:
            self._scheduler.sleep(self._scheduler.chance.expovariate(1 / self._faults.batch_s))
        finally:
            self._computing.remove(self)


class Opener:
    """Opens the files of `write_model`; stands in for `open_engine`."""

    def __init__(self, scheduler: Scheduler, faults: EngineFaults, met: Counter[str]) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._met = met
        self._computing: list[SimulatedEngine] = []

    @contextmanager
    def __call__(self, path: Path, *, spin: bool) -> Iterator[Engine]:
        """Open one.

        Raises:
            ArtifactError: the file is broken.
        """
        content = json.loads(path.read_text())
        self._scheduler.sleep(self._scheduler.chance.expovariate(10))
        if content["broken"]:
            self._met["a broken file"] += 1
            raise ArtifactError(f"{path.name}: damaged")
        model = int(path.stem.removeprefix("m"))
        version = content["version"]
        yield SimulatedEngine(self._scheduler, model, version, self._faults, self._met, self._computing)
