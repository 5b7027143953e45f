"""Engine protocol: what every engine is, whatever runs it, and the checks of its input and output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, overload

import numpy as np

from lstn.contract import Contract, Loc, Task, check_task
from lstn.detection.suppression import SHOWN_SCORE, Detection, detections
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.answer import Classification, Logits, leading, softmax
from lstn.images import Picture, Pixels, pixels_of
from lstn.warps.warp import Theta

_DECODED_AT_ONCE = 32
"""Images that `Engine.classify` and `Engine.detect` decode before they call the engine."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an engine answers: logits (N, K) float32, and theta (N, …) float32 or None for a model without one.

    Of a detector: logits (N, K, C + 1) of K regions, whose last column says that nothing is there, and theta
    (N, K, 2, 3).
    """

    logits: Logits
    theta: Theta | None


class Engine(Protocol):
    """A model that is ready to run. Not for several threads at once: let one own it.

    An engine of your own derives from this class and writes `infer`; `classify` and `detect` call it.

    max_batch: images that it computes at once
    """

    contract: Contract
    max_batch: int

    captures: bool = False
    """Whether a batch size is prepared when it comes for the second time, and faster from then on."""

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB with 1 <= N <= max_batch -> logits (N, K) float32, theta (N, …) float32 or None.

        Of a detector: logits (N, K, C + 1) and theta (N, K, 2, 3) of K regions.
        The arrays returned are the caller's to keep. A plan takes more images too, and computes them in pieces.

        Raises:
            UsageError: pixels of another dtype or shape.
            ArtifactError: the model answers with shapes that its contract doesn't describe.
            DeviceError: the library or the GPU failed.
        """

    @overload
    def classify(self, images: Picture) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a sequence of str

    @overload
    def classify(self, images: Sequence[Picture]) -> list[Classification]: ...

    def classify(self, images: Picture | Sequence[Picture]) -> Classification | list[Classification]:
        """Classify one image, or a list of images, of any size.

        images: a file (str or Path), the bytes of a file, an array (height, width, 3) uint8 RGB, or a list of these.
            Files are decoded and resized as in training; arrays are resized likewise.

        Returns: what the model says of the image; for a list, a list in the same order.

        Raises:
            ImageError: a file can't be decoded; the error names it.
            UsageError: an image of another kind, or an array of another dtype or shape; or the model is a detector.
            ArtifactError: the model answers with numbers that are not finite.
            DeviceError: the library or the GPU failed.
        """
        check_task(self.contract.task, Task.CLASSIFY, "classify", hint="call detect")
        return _answered(self, images, lambda prediction: _classified(prediction, self.contract))

    @overload
    def detect(self, images: Picture, *, least: float = ...) -> tuple[Detection, ...]: ...  # type: ignore[overload-overlap]

    @overload
    def detect(self, images: Sequence[Picture], *, least: float = ...) -> list[tuple[Detection, ...]]: ...

    def detect(
        self, images: Picture | Sequence[Picture], *, least: float = SHOWN_SCORE
    ) -> tuple[Detection, ...] | list[tuple[Detection, ...]]:
        """Find the objects in one image, or in each of a list of images, of any size; for a model that detects.

        images: as for `classify`
        least:  the lowest score of an object, 0..1

        Returns: the objects in the image, best first, at most 100; for a list, a list in the same order.

        Raises:
            ImageError: a file can't be decoded; the error names it.
            UsageError: an image of another kind, or an array of another dtype or shape; another `least`; or the model
                classifies.
            ArtifactError: the model answers with numbers that are not finite.
            DeviceError: the library or the GPU failed.
        """
        check_task(self.contract.task, Task.DETECT, "detect", hint="call classify")
        if not 0 <= least <= 1:
            raise UsageError(f"least is {least}; expected a score from 0 to 1")
        return _answered(self, images, lambda prediction: _detected(prediction, self.contract, least))


def _answered(
    engine: Engine, images: Picture | Sequence[Picture], answers: Callable[[Prediction], list[_Answer]]
) -> _Answer | list[_Answer]:
    """Return the answer to one image, or the list of answers to a list; `answers` makes them of a prediction."""

    def of_piece(piece: Sequence[Picture]) -> list[_Answer]:
        return answers(_predicted(engine, piece))

    if isinstance(images, (list, tuple)):
        size = min(engine.max_batch, _DECODED_AT_ONCE)
        pieces = [images[start : start + size] for start in range(0, len(images), size)]
        return [each for piece in pieces for each in of_piece(piece)]
    return of_piece([images])[0]  # type: ignore[list-item]  # no sequence


def _predicted(engine: Engine, images: Sequence[Picture]) -> Prediction:
    prediction = engine.infer(np.stack([pixels_of(image, engine.contract.image_hw) for image in images]))
    if not all(np.isfinite(each).all() for each in (prediction.logits, prediction.theta) if each is not None):
        raise ArtifactError(
            "the model's answers are not finite", hint="a lower precision may be too narrow; use the float32 model"
        )
    return prediction


def _classified(prediction: Prediction, contract: Contract) -> list[Classification]:
    rows = leading(softmax(prediction.logits), contract.labels, top=len(contract.labels))
    thetas = [None] * len(rows) if prediction.theta is None else list(prediction.theta)
    return [
        Classification(tuple(guess.label for guess in row), tuple(guess.probability for guess in row), theta)
        for row, theta in zip(rows, thetas, strict=True)
    ]


def _detected(prediction: Prediction, contract: Contract, least: float) -> list[tuple[Detection, ...]]:
    assert prediction.theta is not None  # a detector's contract has a localizer
    both = zip(prediction.logits, prediction.theta, strict=True)
    return [detections(logits, theta, contract.labels, least=least) for logits, theta in both]


def check_pixels(pixels: Pixels, contract: Contract, max_batch: int | None) -> None:
    """Refuse pixels that are not (N, H, W, 3) uint8 with 1 <= N <= max_batch; None: any number of them.

    Raises:
        UsageError: they aren't.
    """
    check_shape(str(pixels.dtype), pixels.shape, contract, max_batch)


def check_shape(dtype: str, shape: tuple[int, ...], contract: Contract, max_batch: int | None) -> None:
    """Refuse what `check_pixels` refuses, wherever the pixels are.

    Raises:
        UsageError: as there.
    """
    height, width = contract.image_hw
    fits = dtype == "uint8" and len(shape) == 4 and shape[1:] == (height, width, 3)
    if not fits or not 1 <= shape[0] <= (max_batch or shape[0]):
        most = "of 1 or more" if max_batch is None else f"from 1 to {max_batch}"
        raise UsageError(f"pixels are {dtype} {shape}; expected uint8 (N, {height}, {width}, 3) with N {most}")


def check_prediction(prediction: Prediction, contract: Contract, count: int, *, source: str) -> Prediction:
    """Return `prediction` if its shapes are those of `count` images by this contract; `source` names the file.

    Raises:
        ArtifactError: the file's contract doesn't describe what the model computes.
    """
    wanted: dict[str, tuple[int, ...]] = {"logits": (count, *contract.logits_shape)}
    found: dict[str, tuple[int, ...]] = {"logits": prediction.logits.shape}
    if contract.loc is not Loc.NONE:
        wanted["theta"] = (count, *contract.theta_shape)
        found["theta"] = () if prediction.theta is None else prediction.theta.shape
    if found != wanted:
        hint = "make it again: lstn export"
        raise ArtifactError(f"{source}: answered {found}, its contract says {wanted}", hint=hint)
    return prediction
