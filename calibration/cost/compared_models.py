"""A float32 ONNX file and a lowered one, with the images on which they are compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from lstn.calibration.cost.lowering_cost import Ints
from lstn.calibration.cost.noise import LayerNoise, measure_noise
from lstn.contract import PIXELS, Contract, Task
from lstn.data.dataset import Split
from lstn.data.splits import spaced
from lstn.errors import DataError, UsageError, VerificationError
from lstn.formats.onnx_file import read_model
from lstn.formats.onnx_session import OnnxSession
from lstn.images import Pixels
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working

IMAGES = 500
"""How many images are measured: one that answers otherwise is then 0.2 points, and five lie beyond p99."""

NOISE_IMAGES = 64
"""How many of them the layers' signal to noise is taken from; each brings thousands of numbers a layer."""

_BATCH, _NOISE_BATCH = 16, 8


@dataclass(frozen=True, slots=True)
class ComparedModels:
    """Two ONNX files of one contract, and the images of a split that both answer, by their numbers (N,) int64."""

    reference: Path
    lowered: Path
    contract: Contract
    split: Split
    numbers: Ints

    @classmethod
    def on(cls, reference: Path, lowered: Path, split: Split, count: int) -> "ComparedModels":
        """Choose `count` images, spread over the split.

        Raises:
            UsageError: the files are of different contracts.
            DataError: the split is empty.
            ArtifactError: not a file of lstn.
        """
        contract, _ = read_model(reference)
        if read_model(lowered)[0] != contract:
            raise UsageError(
                f"{lowered} and {reference} are not one model: their contracts differ",
                hint="lower the precision of the very file to compare with: lstn calibrate",
            )
        if not len(split):
            raise DataError("the validation split holds no image", hint="measure on a data set that has some")
        return cls(reference, lowered, contract, split, np.array(spaced(len(split), count)))

    def batches(self) -> Iterator[tuple[Ints, Pixels, Ints]]:
        """Yield numbers (N,), pixels (N, H, W, 3) uint8 and labels (N,) int64 of all the images, a batch at a time."""
        return self._decoded(self.numbers, _BATCH, f"measuring {self.lowered.name}")

    def noise(self) -> tuple[tuple[LayerNoise, ...], int]:
        """Return the noise of every layer, and how many of the images it is from."""
        few = self.numbers[spaced(len(self.numbers), NOISE_IMAGES)]
        pixels = (batch for _, batch, _ in self._decoded(few, _NOISE_BATCH, "layer by layer"))
        models = onnx.load(self.reference), onnx.load(self.lowered)
        return measure_noise(*models, pixels, name=self.lowered.name), len(few)

    def warnings(self, noise: tuple[LayerNoise, ...]) -> Iterator[str]:
        """Yield what makes figures of any task weaker than they look."""
        count, size = len(self.numbers), len(self.split)
        if count < IMAGES:
            where = "all that the split has" if count == size else f"of {size}"
            each = f", and each is {100 / count:.1f} points" if self.contract.task is Task.CLASSIFY else ""
            yield f"{counted(count, 'image')}, {where}: fewer than {IMAGES}{each}"
        if lost := sum(layer.own_db is None for layer in noise):
            yield (
                f"{lost} of {counted(len(noise), 'node')}: not found in the lowered model, so their noise is not known"
            )

    def _decoded(self, numbers: Ints, batch: int, doing: str) -> Iterator[tuple[Ints, Pixels, Ints]]:
        with working(f"{doing} on {counted(len(numbers), 'image')}", len(numbers)) as advance:
            batch = batch_of(self.split[0][0].shape[:2], batch)
            for start in range(0, len(numbers), batch):
                chosen = numbers[start : start + batch]
                pixels, labels = zip(*(self.split[int(number)] for number in chosen), strict=True)
                yield chosen, np.stack(pixels), np.array(labels, dtype=np.int64)
                advance(len(chosen))


def answers(
    session: OnnxSession, pixels: Pixels, outputs: list[str], file: Path
) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the outputs of a model, `file`, for pixels (N, H, W, 3) uint8.

    Raises:
        VerificationError: one is not finite.
    """
    values = session.run({PIXELS: pixels}, outputs)
    return tuple(finite(each, f"{file.name} computes {name}") for name, each in zip(outputs, values, strict=True))


def finite(values: npt.NDArray[np.float32], what: str) -> npt.NDArray[np.float32]:
    """Return the values.

    Raises:
        VerificationError: one is not finite; it begins with `what`.
    """
    if not np.isfinite(values).all():
        raise VerificationError(
            f"{what} that are not finite", hint="a weight or an activation is beyond what its type holds"
        )
    return values
