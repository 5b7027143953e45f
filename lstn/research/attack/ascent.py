"""Projected gradient ascent within a ball (Madry et al. 2018): the one loop of every attack.

Towards deep learning models resistant to adversarial attacks, https://arxiv.org/abs/1706.06083
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from lstn.research.attack.balls import BallNorm, in_whole_levels, somewhere, steepest, within

Objective: TypeAlias = Callable[[Tensor], Tensor]
"""Changed pixels, or thetas, (N, …) -> what is to grow, (N,)."""

STEP_SHARE = 0.25
"""Length of a step as a share of the radius. It doesn't depend on the number of steps, so that more steps begin with
those of fewer."""


def ascend(
    objective: Objective,
    start: Tensor,
    step: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
    steps: int,
) -> Iterator[Tensor]:
    """Yield each place after a step along the gradient and the projection, (N, …)."""
    place = start
    for _ in range(steps):
        place = place.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(place).sum(), place)
        place = project(place.detach() + step(gradient))
        yield place


def ascend_pixels(
    objective: Objective,
    pixels: Tensor,
    norm: BallNorm,
    bound: Tensor,
    *,
    steps: int,
    step_share: float = STEP_SHARE,
    drawn: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield changed pixels (N, H, W, 3), 0 to 255, after each step, within balls of radius `bound` (N,).

    drawn: start at a random place in the ball; None: at the picture itself
    """
    begin = pixels
    if drawn is not None:
        begin = (pixels + somewhere(pixels, norm, bound, drawn, on_edge=False)).clamp(0, 255)
    length = (bound * step_share).reshape(-1, 1, 1, 1)

    def project(place: Tensor) -> Tensor:
        return (pixels + within(place - pixels, norm, bound)).clamp(0, 255)

    return ascend(objective, begin, lambda gradient: length * steepest(gradient, norm), project, steps)


class Strongest:
    """Keeps, of each picture, the changed pixels in whole levels that score highest.

    pixels: (N, H, W, 3) as they are, which are the first candidates
    score:  changed pixels -> (N,), what is to be high
    """

    def __init__(self, pixels: Tensor, score: Objective, norm: BallNorm, bound: Tensor) -> None:
        self._start, self._score, self._norm, self._bound = pixels, score, norm, bound
        self.pixels = pixels.clone()
        with torch.no_grad():
            self.scores = score(pixels)

    @torch.no_grad()
    def offer(self, candidates: Tensor) -> None:
        """Keep what scores higher than what there was."""
        whole = in_whole_levels(candidates, self._start, self._norm, self._bound)
        scores = self._score(whole)
        better = scores > self.scores
        self.pixels[better], self.scores[better] = whole[better], scores[better]
