"""Engine protocol: what every engine is, whatever runs it, and the checks of its input and output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np

from lstn.contract import Contract, Loc, check_classifies
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.answer import Classification, Logits, leading, softmax
from lstn.images import Picture, Pixels, pixels_of
from lstn.warps.warp import Theta

_CLASSIFIED_AT_ONCE = 32
"""Images that `Engine.classify` decodes before it calls the engine."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an engine answers: logits (N, K) float32, and theta (N, …) float32 or None for a model without one."""

    logits: Logits
    theta: Theta | None


class Engine(Protocol):
    """A model that is ready to run. Not for several threads at once: let one own it.

    An engine of your own derives from this class and writes `infer`; `classify` calls it.

    max_batch: images that it computes at once
    """

    contract: Contract
    max_batch: int

    captures: bool = False
    """Whether a batch size is prepared when it comes for the second time, and faster from then on."""

    def infer(self, pixels: Pixels) -> Prediction:
        """(N, H, W, 3) uint8 RGB with 1 <= N <= max_batch -> logits (N, K) float32, theta (N, …) float32 or None.

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
            UsageError: an image of another kind, or an array of another dtype or shape.
            ArtifactError: the model answers with numbers that are not finite.
            DeviceError: the library or the GPU failed.
        """
        if isinstance(images, (list, tuple)):
            size = min(self.max_batch, _CLASSIFIED_AT_ONCE)
            pieces = [images[start : start + size] for start in range(0, len(images), size)]
            return [each for piece in pieces for each in _classified(self, piece)]
        return _classified(self, [images])[0]  # type: ignore[list-item]  # no sequence


def _classified(engine: Engine, images: Sequence[Picture]) -> list[Classification]:
    contract = engine.contract
    check_classifies(contract, "classify")
    prediction = engine.infer(np.stack([pixels_of(image, contract.image_hw) for image in images]))
    if not all(np.isfinite(each).all() for each in (prediction.logits, prediction.theta) if each is not None):
        raise ArtifactError(
            "the model's answers are not finite", hint="a lower precision may be too narrow; use the float32 model"
        )
    rows = leading(softmax(prediction.logits), contract.labels, top=len(contract.labels))
    thetas = [None] * len(rows) if prediction.theta is None else list(prediction.theta)
    return [
        Classification(tuple(guess.label for guess in row), tuple(guess.probability for guess in row), theta)
        for row, theta in zip(rows, thetas, strict=True)
    ]


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
