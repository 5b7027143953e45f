"""Engine protocol: what every engine is, whatever runs it, and what each task's answers are."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar, overload

import numpy as np

from lstn.contract import Contract, Task, check_task
from lstn.detection.suppression import SHOWN_SCORE, Detection, detections
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.answer import Classification, Guess, leading, softmax
from lstn.images import Picture, Pixels, pixels_of
from lstn.runtime.engines.prediction import Prediction, check_rows
from lstn.runtime.engines.slots import SLOTS, InferWork, Slots, open_slots
from lstn.tagging.tags import tags_of
from lstn.transcription.transcripts import Transcript, transcripts

_DECODED_AT_ONCE = 32
"""Images that `Engine.classify` and `Engine.detect` decode before they call the engine."""

_Answer = TypeVar("_Answer")


class Engine(Protocol):
    """A model that is ready to run. Not for several threads at once: let one own it.

    An engine of your own derives from this class and writes `infer`; all else calls it.

    max_batch: images that it computes at once
    """

    contract: Contract
    max_batch: int

    on_gpu: bool = False
    """Whether a GPU computes, so that this engine and others need not take turns."""

    prepared: tuple[int, ...] = ()
    """Batch sizes, ascending, that each slot prepares when they come for the second time, and is faster at from then
    on. Batches in between are computed as the next larger one."""

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB with 1 <= N <= max_batch -> logits (N, K) float32, theta (N, …) float32 or None.

        Of a detector: logits (N, K, C + 1) and theta (N, K, 2, 3) of K regions; of a reader, of K symbols.
        The arrays returned are the caller's to keep. A plan takes more images too, and computes them in pieces.

        Raises:
            UsageError: pixels of another dtype or shape.
            ArtifactError: the model answers with shapes that its contract doesn't describe.
            DeviceError: the library or the GPU failed.
        """

    def slots(self, rows: int, *, most: int = SLOTS) -> AbstractContextManager[Slots]:
        """Open slots for batches of up to `rows` images, for a `with`: one is filled while another computes.

        A pipeline over many images uses them in place of `infer`; see `lstn.runtime.engines.slots`.

        most: how many at most; a few images need no three

        Raises:
            UsageError: `rows` isn't from 1 to max_batch.
            DeviceError: on entering the `with`: there is no memory for a single one.
        """
        check_rows(rows, self.max_batch)
        return open_slots(lambda: InferWork(self.contract, rows, self.infer), most=most)

    @overload
    def classify(self, images: Picture) -> Classification: ...  # type: ignore[overload-overlap]  # a str is a sequence of str

    @overload
    def classify(self, images: Sequence[Picture]) -> list[Classification]: ...

    def classify(self, images: Picture | Sequence[Picture]) -> Classification | list[Classification]:
        """Classify one image, or a list of images, of any size.

        images: a file (str or Path), the bytes of a file, an array (height, width, 3) uint8 RGB, or a list of these.
            Files are decoded and framed as in training; arrays are framed likewise.

        Returns: what the model says of the image; for a list, a list in the same order.

        Raises:
            ImageError: a file can't be decoded; the error names it.
            UsageError: an image of another kind, or an array of another dtype or shape; or the model is a detector.
            ArtifactError: the model answers with numbers that are not finite.
            DeviceError: the library or the GPU failed.
        """
        check_task(self.contract.task, Task.CLASSIFY, "classify", hint=_METHODS[self.contract.task])
        return _answered(self, images, lambda prediction: _classified(prediction, self.contract))

    @overload
    def tag(self, images: Picture, *, least: float | None = ...) -> tuple[Guess, ...]: ...  # type: ignore[overload-overlap]

    @overload
    def tag(self, images: Sequence[Picture], *, least: float | None = ...) -> list[tuple[Guess, ...]]: ...

    def tag(
        self, images: Picture | Sequence[Picture], *, least: float | None = None
    ) -> tuple[Guess, ...] | list[tuple[Guess, ...]]:
        """Return the labels that one image has, or each of a list of images, of any size; for a model that tags.

        images: as for `classify`
        least:  the lowest probability of a label, 0..1; None: the model's own threshold of each label

        Returns: labels with their probabilities, most probable first, or none; for a list, a list in the same order.

        Raises:
            ImageError: a file can't be decoded; the error names it.
            UsageError: an image of another kind, or an array of another dtype or shape; another `least`; or the model
                doesn't tag.
            ArtifactError: the model answers with numbers that are not finite.
            DeviceError: the library or the GPU failed.
        """
        check_task(self.contract.task, Task.TAG, "tag", hint=_METHODS[self.contract.task])
        _check_least(least)
        return _answered(self, images, lambda prediction: tags_of(prediction.logits, self.contract, least=least))

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
        check_task(self.contract.task, Task.DETECT, "detect", hint=_METHODS[self.contract.task])
        _check_least(least)
        return _answered(self, images, lambda prediction: _detected(prediction, self.contract, least))

    @overload
    def read(self, images: Picture) -> Transcript: ...  # type: ignore[overload-overlap]

    @overload
    def read(self, images: Sequence[Picture]) -> list[Transcript]: ...

    def read(self, images: Picture | Sequence[Picture]) -> Transcript | list[Transcript]:
        """Read the text in one image, or in each of a list of images, of any size; for a model that reads.

        images: as for `classify`

        Returns: the most probable text, and where its symbols are; for a list, a list in the same order.

        Raises:
            ImageError: a file can't be decoded; the error names it.
            UsageError: an image of another kind, or an array of another dtype or shape; or the model doesn't read.
            ArtifactError: the model answers with numbers that are not finite.
            DeviceError: the library or the GPU failed.
        """
        check_task(self.contract.task, Task.READ, "read", hint=_METHODS[self.contract.task])
        return _answered(self, images, lambda prediction: _read(prediction, self.contract))


_METHODS: dict[Task, str] = {
    Task.CLASSIFY: "call classify",
    Task.TAG: "call tag",
    Task.DETECT: "call detect",
    Task.READ: "call read",
    Task.ALIGN: "call infer, whose logits are vectors of regions",
    Task.GENERATE: "open it with lstn.open_generator",
}
"""Total over `Task`."""


def _check_least(least: float | None) -> None:
    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"least is {least}; expected a number from 0 to 1")


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
    prediction = engine.infer(np.stack([pixels_of(image, engine.contract) for image in images]))
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


def _read(prediction: Prediction, contract: Contract) -> list[Transcript]:
    thetas = [None] * len(prediction.logits) if prediction.theta is None else list(prediction.theta)
    both = zip(prediction.logits, thetas, strict=True)
    labels, between = contract.labels, contract.separator
    return [transcripts(logits, theta, labels, separator=between)[0] for logits, theta in both]
