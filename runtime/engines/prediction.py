"""Prediction: what every engine answers, and the checks of an engine's input and output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lstn.contract import Contract, Loc
from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.answer import Logits
from lstn.images import Pixels
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an engine answers: logits (N, K) float32, and theta (N, …) float32 or None for a model without one.

    Of a detector: logits (N, K, C + 1) of K regions, whose last column says that nothing is there, and theta
    (N, K, 2, 3). Of a reader the same of K symbols, whose last column says that the text has ended.
    """

    logits: Logits
    theta: Theta | None


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


def check_rows(rows: int, max_batch: int) -> None:
    """Refuse slots with other than 1 to `max_batch` rows.

    Raises:
        UsageError: they have.
    """
    if not 1 <= rows <= max_batch:
        raise UsageError(f"slots with {rows} rows; expected from 1 to {max_batch}")


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


def joined(answers: Sequence[Prediction]) -> Prediction:
    """Put answers to one image after the other together, one or more."""
    if len(answers) == 1:
        return answers[0]
    thetas = [answer.theta for answer in answers if answer.theta is not None]
    return Prediction(np.concatenate([answer.logits for answer in answers]), np.concatenate(thetas) if thetas else None)
