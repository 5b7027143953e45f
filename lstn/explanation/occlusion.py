"""Occlusion: maps of what moves a model's label and its warp, for every model that answers. No gradients are needed.

A window of one colour covers a part of the picture, one place after another. Where it hides what the model goes by, the
probability of the label falls (Zeiler and Fergus 2013, section 4.2); where it hides what the localizer goes by, the
quadrilateral moves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.errors import ArtifactError, UsageError
from lstn.evaluation.answer import Answers, Logits, softmax
from lstn.images import Pixels
from lstn.imaging.framing import Colour
from lstn.warps.warp import Theta, landmarks_px

Heat: TypeAlias = npt.NDArray[np.float64]
"""(H, W) float64: a number for each pixel of a picture or of a crop; or (rows, columns), one for each window."""

_ACROSS = 6
"""Windows that fit side by side along the shorter side of a picture, unless a user says how large they are."""


@dataclass(frozen=True, slots=True)
class Window:
    """What covers a part of the picture: a square of `side` pixels, which moves on by `stride` pixels."""

    side: int
    stride: int

    def starts(self, length: int) -> list[int]:
        """Return where windows begin along an edge of `length` pixels; the last one ends with the picture."""
        last = length - self.side
        return [*range(0, last, self.stride), last]

    def count(self, image_hw: tuple[int, int]) -> int:
        """Return how many windows a picture of this height and width gets."""
        return len(self.starts(image_hw[0])) * len(self.starts(image_hw[1]))


def window_for(image_hw: tuple[int, int], side: int | None = None, stride: int | None = None) -> Window:
    """Return the window for pictures of this size: a sixth of the shorter side, moved on by three quarters of that.

    side, stride: in pixels, where a user says so

    Raises:
        UsageError: a window larger than the picture, or a stride that leaves pixels between windows uncovered.
    """
    shorter = min(image_hw)
    side = max(1, round(shorter / _ACROSS)) if side is None else side
    stride = max(1, 3 * side // 4) if stride is None else stride
    if side > shorter:
        raise UsageError(
            f"--window {side}: larger than the images, {image_hw[0]} x {image_hw[1]} pixels",
            hint=f"use a window of {shorter} at most; {max(1, round(shorter / _ACROSS))} is usual",
        )
    if stride > side:
        raise UsageError(
            f"--stride {stride}: pixels between windows of {side} would stay uncovered",
            hint=f"use a stride of {side} at most",
        )
    return Window(side, stride)


@dataclass(frozen=True, slots=True, eq=False)
class Occlusion:
    """What covering parts of one picture did to a model's answer.

    probabilities: (K,) of the picture as it is
    label:    index of its most probable label, which `fall` is about
    theta:    of the picture as it is
    fall:     (rows, columns): probability of the label as it is minus that with the window there
    moved_px: (rows, columns): how far the corners or control points of the crop moved, their mean, in pixels; None for
              a model without a transformer
    """

    probabilities: npt.NDArray[np.float32]
    label: int
    theta: Theta | None
    fall: Heat
    moved_px: Heat | None


def occlude(
    answer: Answers,
    pixels: Pixels,
    window: Window,
    *,
    fill: Colour,
    batch: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Occlusion:
    """Cover one picture (H, W, 3), a window at a time, and see what becomes of the answer.

    fill:    the colour of the window
    batch:   pictures that the model answers at once
    advance: hears how many were answered

    Raises:
        ArtifactError: the model answers with numbers that are not finite.
    """
    hw = pixels.shape[0], pixels.shape[1]
    rows, columns = window.starts(hw[0]), window.starts(hw[1])
    probabilities, thetas = [], []
    for covered in _batches(pixels, [(y, x) for y in rows for x in columns], window.side, fill, batch):
        logits, theta = finite_answer(*answer(covered))
        probabilities.append(softmax(logits))
        thetas.append(theta)
        advance(len(covered))
    shares = np.concatenate(probabilities)
    label, grid = int(shares[0].argmax()), (len(rows), len(columns))
    fall = shares[0, label].astype(np.float64) - shares[1:, label]
    known = [theta for theta in thetas if theta is not None]
    if not known:
        return Occlusion(shares[0], label, None, fall.reshape(grid), None)
    places = landmarks_px(np.concatenate(known), hw)
    moved = np.linalg.norm(places[1:] - places[0], axis=2).mean(1)
    return Occlusion(shares[0], label, known[0][0], fall.reshape(grid), moved.reshape(grid))


def finite_answer(logits: Logits, theta: Theta | None) -> tuple[Logits, Theta | None]:
    """Return a model's answer, if it is numbers.

    Raises:
        ArtifactError: it isn't.
    """
    if not all(np.isfinite(each).all() for each in (logits, theta) if each is not None):
        raise ArtifactError(
            "the model's answers are not finite", hint="a lower precision may be too narrow; use the float32 model"
        )
    return logits, theta


def by_pixel(grid: Heat, window: Window, image_hw: tuple[int, int]) -> Heat:
    """Return the mean of all windows that cover each pixel: (rows, columns) -> (H, W)."""
    total, count = np.zeros(image_hw), np.zeros(image_hw)
    for row, y in enumerate(window.starts(image_hw[0])):
        for column, x in enumerate(window.starts(image_hw[1])):
            covered = np.s_[y : y + window.side, x : x + window.side]
            total[covered] += grid[row, column]
            count[covered] += 1
    return np.asarray(total / count)


def _batches(
    pixels: Pixels, corners: Sequence[tuple[int, int]], side: int, fill: Colour, batch: int
) -> Iterator[Pixels]:
    """Yield the picture as it is, and then with the window at each corner, `batch` pictures at a time."""
    places: list[tuple[int, int] | None] = [None, *corners]
    for start in range(0, len(places), batch):
        piece = places[start : start + batch]
        covered = np.repeat(pixels[None], len(piece), axis=0)
        for picture, corner in zip(covered, piece, strict=True):
            if corner is not None:
                y, x = corner
                picture[y : y + side, x : x + side] = fill
        yield covered
