"""Follow: how much of a known move of the picture a transformer's crop follows, without labels. Free of torch.

Each picture is turned, scaled and shifted by a known amount, once one way and once the other. theta maps crop to
picture coordinates, so a transformer that follows perfectly answers M theta to a picture whose content moved by M: the
crop's angle, size and centre change exactly as M says. Follow is the regression slope of that change on the known
one, a vector for shifts:

    follow = sum(known * answered) / sum(known * known), each the difference between a move and its opposite

0: theta doesn't depend on the move; 1: the crop stays the same; 0.5: half of the move is left. A share of an error,
1 - E|answered - known|^2 / E|known|^2, can't tell that from noise: the localizer's own noise adds to every error, and
where it exceeds a small move the share is negative. A slope keeps its mean, and the noise is the residual. Opposite
moves cancel whatever blur or the picture's border do to theta either way. Angles, ratios of sizes and centres don't
depend on the crop's size, so a crop that shrinks doesn't follow better or worse. Of a warp that isn't affine, they are
those of the affine one nearest to it (`lstn.warps.warp.frame_of`).
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.contract import Contract, ThetaForm
from lstn.data.splits import Split, spaced
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.health.follow import Follow, Followed
from lstn.images import Pixels
from lstn.interval import mean_interval
from lstn.warps.warp import Theta, frame_of

Locate: TypeAlias = Callable[[Pixels], Theta]
"""(N, H, W, 3) uint8 -> theta (N, …) float32."""

ROTATION_DEG, SCALE, SHIFT = 30.0, 1.25, 0.15
"""Largest moves: degrees either way, times as large or as small, share of the side in any direction; the smallest are a
third of that (of the scale's logarithm). More would push objects that fill the picture out of it, and less is lost in
the localizer's noise."""

MOST_BYTES = 64 << 20
"""Of moved pictures, six of each picture."""

MEASURED = 64
"""Pictures that a finished model is measured on, each moved six times: the intervals are then narrower than 0.1."""

_SMALLEST = 1 / 3
_STEP = math.sqrt(2)
"""Of sizes, around a circle of 1. Not the golden ratio, which is that of the directions: each would have one size."""
_WILDEST = 2.0
"""Largest slope of one picture, either way: a crop that collapsed may answer with any. Cut alike on both sides, noise
around 0 stays at 0."""

_LEAST_AREA = 1e-9
_MOVES = 6

_KINDS = {"rotation": Kind.ROTATE, "scale": Kind.SCALE, "shift": Kind.SHIFT}


class MovedPictures:
    """Pictures moved by known amounts, the same for every model and in every epoch.

    pixels: (N, H, W, 3) uint8, N at least 2
    """

    def __init__(self, pixels: Pixels, contract: Contract) -> None:
        self.image_hw = (pixels.shape[1], pixels.shape[2])
        self.images = len(pixels)
        self._moves = {name: _pairs(kind, len(pixels)) for name, kind in _KINDS.items() if can_follow(name, contract)}
        self._pixels = {
            name: np.stack([moved(pixels[n], move, n) for n, pair in enumerate(pairs) for move in pair])
            for name, pairs in self._moves.items()
        }

    def follow(self, locate: Locate, *, batch: int) -> Follow:
        """Measure how `locate` follows, at most `batch` pictures at a time."""
        found: dict[str, Followed | None] = dict.fromkeys(_KINDS)
        for name, pairs in self._moves.items():
            pixels = self._pixels[name]
            answered = np.concatenate([locate(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])
            content = np.stack([_content(move, self.image_hw, n) for n, pair in enumerate(pairs) for move in pair])
            found[name] = _followed(name, content, answered, self.image_hw)
        return Follow(images=self.images, rotation=found["rotation"], scale=found["scale"], shift=found["shift"])


def measure_follow(locate: Locate, images: Split, contract: Contract, *, batch: int) -> Follow | None:
    """Measure how `locate` follows on some of the images, evenly spaced; None of fewer than two."""
    if len(images) < 2:
        return None
    chosen = spaced(len(images), most_images(images[0][0], MEASURED))
    return MovedPictures(np.stack([images[index][0] for index in chosen]), contract).follow(locate, batch=batch)


def can_follow(kind: str, contract: Contract) -> bool:
    """Say whether a contract's theta can answer moves of this kind at all."""
    return kind != "rotation" or contract.theta not in (ThetaForm.CROP, ThetaForm.POLAR)


def most_images(image: Pixels, wanted: int) -> int:
    """Return how many pictures like (H, W, 3) `image`, at most `wanted`, may be moved in memory."""
    return max(2, min(wanted, MOST_BYTES // (_MOVES * image.nbytes)))


def moved(pixels: Pixels, move: Disturbance, index: int) -> Pixels:
    """Move picture number `index` (H, W, 3) by `sampled_at`."""
    height, width = pixels.shape[:2]
    return np.asarray(sampled_at(pixels, move.theta((height, width), index)[None])[0])


def sampled_at(pixels: Pixels, thetas: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Sample one picture (H, W, 3) at thetas (M, 2, 3), bilinear: (M, H, W, 3). It goes on outside as a mirror image.

    A black border would be a second thing to follow, which moves with the picture whatever is in it. Seen: an L-STN
    trained with --augment affine on traffic signs followed 0.08 of shifts with a black border, and 0.00 like this.
    """
    height, width = pixels.shape[:2]
    reach = (np.abs(thetas).sum(axis=2).max(axis=(0, 1)) - 1) / 2  # of the side, beyond it
    # An oblong picture that is turned needs half of its longer side all around.
    border = math.ceil(max(height, width) * max(0.5, float(reach)))
    wide: Pixels = np.pad(pixels, [(border, border), (border, border), (0, 0)], mode="symmetric")
    to_unit = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    to_pixels = np.array([[width / 2, 0, width / 2 + border], [0, height / 2, height / 2 + border]])
    found = np.empty((len(thetas), height, width, 3), np.uint8)
    padded, size = Image.fromarray(wide), (width, height)
    for place, theta in enumerate(thetas.astype(np.float64)):
        data = (to_pixels @ np.vstack([theta, [0, 0, 1]]) @ to_unit).ravel().tolist()
        found[place] = np.asarray(padded.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))
    return found


def _pairs(kind: Kind, count: int) -> list[tuple[Disturbance, Disturbance]]:
    """Return a move and its opposite for each picture; sizes are spread evenly however many pictures there are."""
    sizes = [_SMALLEST + (1 - _SMALLEST) * (number * _STEP % 1.0) for number in range(count)]
    if kind is Kind.SCALE:
        return [(Disturbance(kind, SCALE**size), Disturbance(kind, SCALE**-size)) for size in sizes]
    largest = ROTATION_DEG if kind is Kind.ROTATE else SHIFT
    return [(Disturbance(kind, largest * size), Disturbance(kind, -largest * size)) for size in sizes]


def _content(move: Disturbance, image_hw: tuple[int, int], index: int) -> npt.NDArray[np.float64]:
    """Return how the content moves, (2, 3): the inverse of how the picture is sampled."""
    matrix = np.vstack([move.theta(image_hw, index).astype(np.float64), [0, 0, 1]])
    return np.asarray(np.linalg.inv(matrix)[:2])


def _followed(name: str, content: npt.NDArray[np.float64], answered: Theta, image_hw: tuple[int, int]) -> Followed:
    """content (2 N, 2, 3), answered (2 N, …): a move of a picture and then its opposite.

    Of several warps, all of which ought to move along, a picture counts as their mean.
    """
    frames = frame_of(answered).reshape(len(content), -1, 2, 3)
    known = _change(name, content, image_hw)
    changes = [_change(name, frames[:, warp], image_hw) for warp in range(frames.shape[1])]
    change = np.mean(changes, axis=0)
    weight = np.square(known).sum(1)
    slopes = np.mean([np.clip((known * each).sum(1) / weight, -_WILDEST, _WILDEST) for each in changes], axis=0)
    value = float((weight * slopes).sum() / weight.sum())
    # The slope of all is a mean of these, so its interval is theirs.
    interval = mean_interval((value + weight * (slopes - value) / weight.mean()).tolist())
    rest = change - value * known
    residual = math.sqrt(np.square(rest).sum(1).mean() / 2)  # of a difference of two answers
    return Followed(value=value, low=interval.low, high=interval.high, residual=residual)


def _change(name: str, theta: npt.NDArray[np.float64], image_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return how each crop differs from the next one, (2 N, 2, 3) -> (N, 1 or 2), in units of `residual`."""
    height, width = image_hw
    theta = np.where(np.isfinite(theta).all((1, 2), keepdims=True), theta, 0.0)
    if name == "shift":
        centre = theta[:, :, 2] * [width / 2, height / 2]
        return np.asarray(centre[::2] - centre[1::2])
    if name == "scale":
        area = np.maximum(np.abs(np.linalg.det(theta[:, :, :2])), _LEAST_AREA)
        return np.asarray(50 * np.log(area[::2] / area[1::2]))[:, None]
    angle = angle_deg(theta, width / height)
    return np.asarray((angle[::2] - angle[1::2] + 180) % 360 - 180)[:, None]


def angle_deg(theta: npt.NDArray[np.float64], ratio: float) -> npt.NDArray[np.float64]:
    """Return how each crop is turned, (N, 2, 3) -> (N,) degrees: by the nearest rotation, in square pixels.

    Turned on by R, it is turned by exactly the angle of R more, whatever its shear. Mirrored crops too, whose angle
    is that of the nearest reflection.
    """
    a, b, c, d = theta[:, 0, 0], theta[:, 0, 1] * ratio, theta[:, 1, 0] / ratio, theta[:, 1, 1]
    rotation, reflection = a + d + 1j * (c - b), a - d + 1j * (c + b)
    return np.asarray(np.degrees(np.angle(np.where(a * d - b * c >= 0, rotation, reflection))))
