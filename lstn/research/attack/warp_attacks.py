"""Attacks on the warp of a checkpoint: the smallest pixel change that moves it, and the smallest move that matters.

Both are found by bisection of the bound: a bound at which projected gradient ascent succeeds is halved, and one at
which it fails is raised. What is found is an upper limit of the true smallest change.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lstn.nn.classifier import Classifier
from lstn.nn.warping.forms import each_warp, landmarks
from lstn.research.attack.ascent import STEP_SHARE, Strongest, ascend, ascend_pixels
from lstn.research.attack.balls import BallNorm, each, somewhere, steepest
from lstn.research.attack.label_attacks import margin

_ROUNDS = 8
"""Of bisection over distances, which are no whole numbers: to a 128th of the largest one."""

_LENGTHS = 3
"""How often a change is brought to its length, for warps that aren't linear in theta."""

_STARTS = 4
"""Random directions from which the crop is moved: ascents from one alone end at the nearest maximum."""

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class MovedWarp:
    """The smallest changes that were found. Where none was, `size` is infinite and `pixels` are the picture's own.

    pixels: (N, H, W, 3) float32 in whole levels
    size:   (N,) levels, the largest of the picture
    """

    pixels: Tensor
    size: Tensor


def drift_of(theta: Tensor, reference: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Return how far the landmark that moved most lies from the reference's, (N, …) -> (N,) pixels of the input."""
    half = theta.new_tensor([image_hw[1] / 2, image_hw[0] / 2])
    drift: Tensor = ((_points(theta) - _points(reference)) * half).norm(dim=2).amax(1)
    return drift


def _points(theta: Tensor) -> Tensor:
    """Return the landmarks of each image's crop, or of its several crops: (N, …) -> (N, M, 2), from -1 to 1."""
    return landmarks(each_warp(theta)).reshape(len(theta), -1, 2)


def theta_of(model: Classifier, pixels: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 or float32 from 0 to 255 -> theta (N, …), with gradients."""
    assert model.transformer is not None
    return model.transformer.localize(model.frames(model.normalise(pixels)), model.look)


def move_warp(
    model: Classifier, pixels: Tensor, reach_px: float, *, most: int = 64, steps: int = 20, seed: int = 0
) -> MovedWarp:
    """Find the smallest pixel change, in grey levels by its largest value, that moves the crop by `reach_px`.

    most: levels beyond which no change is sought
    """
    hw = model.contract.image_hw
    with torch.no_grad():
        reference = theta_of(model, pixels)

    def drift(place: Tensor) -> Tensor:
        return drift_of(theta_of(model, place), reference, hw)

    def spread(place: Tensor) -> Tensor:
        # All landmarks, so that the gradient doesn't jump from one to another.
        return (_points(theta_of(model, place)) - _points(reference)).square().sum((1, 2))

    low = pixels.new_zeros(len(pixels))
    high, found = torch.full_like(low, float(most + 1)), pixels.clone()
    bound = torch.full_like(low, float(most))
    while bool((high - low > 1).any()):
        kept = Strongest(pixels, drift, BallNorm.LINF, bound)
        # The drift of the picture itself has no gradient: its own warp is its minimum.
        drawn = torch.Generator().manual_seed(seed)
        for place in ascend_pixels(spread, pixels, BallNorm.LINF, bound, steps=steps, drawn=drawn):
            kept.offer(place)
        moved = (kept.scores >= reach_px) & (bound < high)
        found[moved], high[moved] = kept.pixels[moved], bound[moved]
        low = torch.where(moved, low, torch.maximum(low, torch.minimum(bound, high - 1)))
        bound = ((low + high) / 2).floor().clamp(1, most)
    size = torch.where(high > most, torch.inf, (found - pixels).abs().flatten(1).amax(1))
    return MovedWarp(found, size)


def mislead_by_warp(
    model: Classifier, pixels: Tensor, *, most_px: float, steps: int = 20, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Find the smallest move of each crop that changes the label that the model gives it, the pictures as they are.

    most_px: pixels of the input beyond which no move is sought

    Returns: (N,) drift in pixels, infinite where no move was found; and (N,) bool, whether a random move of that drift
    changes the label too, False where none was found.
    """
    search = _WarpSearch(model, pixels, steps, seed)
    low, high = pixels.new_zeros(len(pixels)), pixels.new_full((len(pixels),), torch.inf)
    bound = torch.full_like(low, most_px)
    for _ in range(_ROUNDS):
        drift = search.misleading(bound)
        high = torch.minimum(high, drift)
        low = torch.where(drift.isinf(), torch.maximum(low, bound), low)
        # One that no move up to the largest bound misleads is asked again there, for its bound can't grow.
        bound = torch.where(high.isinf(), most_px, (low + high) / 2)
    return high, search.misled_at_random(high)


class _WarpSearch:
    """Moves of the crops of some pictures, and what they do to the labels."""

    def __init__(self, model: Classifier, pixels: Tensor, steps: int, seed: int) -> None:
        assert model.transformer is not None
        self._model, self._transformer, self._steps = model, model.transformer, steps
        self._hw = model.contract.image_hw
        with torch.no_grad():
            self._frames = model.frames(model.normalise(pixels))
            self._theta = model.transformer.localize(self._frames, model.look)
            self._labels = self._logits(self._theta).argmax(1)
        drawn = torch.Generator().manual_seed(seed)
        ones = self._theta.new_ones(len(self._theta))
        directions = [somewhere(self._theta, BallNorm.L2, ones, drawn, on_edge=True) for _ in range(_STARTS + 1)]
        self._random, *self._starts = directions

    def misleading(self, bound: Tensor) -> Tensor:
        """Return the smallest drift up to `bound` (N,) at which an ascent changes the label, or infinity."""
        found = torch.full_like(bound, torch.inf)

        def step(gradient: Tensor) -> Tensor:
            return self._moved_by(gradient, bound * STEP_SHARE)

        def project(theta: Tensor) -> Tensor:
            change = theta - self._theta
            drift = drift_of(theta, self._theta, self._hw)
            return torch.where(each(drift > bound, change), self._theta + self._moved_by(change, bound), theta)

        for direction in self._starts:
            start = self._theta + self._moved_by(direction, bound * STEP_SHARE)
            for theta in ascend(self._wrong, start, step, project, self._steps):
                with torch.no_grad():
                    drift = drift_of(theta, self._theta, self._hw)
                    misled = (self._wrong(theta) > 0) & (drift <= bound * 1.001)
                    found = torch.where(misled, torch.minimum(found, drift), found)
        return found

    @torch.no_grad()
    def misled_at_random(self, drift: Tensor) -> Tensor:
        """Return whether a random move of this drift (N,) changes the label; False where it is infinite."""
        theta = self._theta + self._moved_by(self._random, torch.where(drift.isinf(), 0.0, drift))
        return (self._wrong(theta) > 0) & drift.isfinite()

    def _wrong(self, theta: Tensor) -> Tensor:
        return margin(self._logits(theta), self._labels)

    def _logits(self, theta: Tensor) -> Tensor:
        return self._model.classify(self._transformer.warp(self._frames, theta))

    def _moved_by(self, change: Tensor, drift: Tensor) -> Tensor:
        """Return a change of theta (N, …), made as long as moves its crop by `drift` (N,) pixels.

        Exact of affine matrices and splines, whose landmarks are linear in theta; a projective one is nearly so where
        it is small.
        """
        change = steepest(change, BallNorm.L2)  # of 1e-10 nothing would be left next to theta
        for _ in range(_LENGTHS):
            length = drift_of(self._theta + change, self._theta, self._hw).clamp_min(_TINY)
            change = change * each(drift / length, change)
        return change
