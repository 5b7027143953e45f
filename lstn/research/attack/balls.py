"""Balls of pixel changes around a picture: their norms, the projection into them, and the steepest step.

Pixels are (N, H, W, 3) float32 from 0 to 255. Changes found with gradients are rounded to whole grey levels before they
count, because nobody can hand an engine anything else.
"""

from enum import Enum

import torch
from torch import Tensor

_TINY = 1e-12


class BallNorm(str, Enum):
    """How the size of a change is measured: by its largest value, or by the root of the sum of squares."""

    LINF = "linf"
    L2 = "l2"


def size_of(change: Tensor, norm: BallNorm) -> Tensor:
    """Return the size of each change, (N, …) -> (N,)."""
    flat = change.flatten(1)
    return flat.abs().amax(1) if norm is BallNorm.LINF else flat.square().sum(1).sqrt()


def within(change: Tensor, norm: BallNorm, bound: Tensor) -> Tensor:
    """Project changes (N, …) into balls of these radii (N,)."""
    limit = each(bound, change)
    if norm is BallNorm.LINF:
        return change.clamp(-limit, limit)
    return change * (limit / each(size_of(change, norm).clamp_min(_TINY), change)).clamp_max(1.0)


def steepest(gradient: Tensor, norm: BallNorm) -> Tensor:
    """Return the step of size 1 along which a function with this gradient (N, …) grows most; none of no gradient.

    However small the gradient is: of a confident model it may be 1e-20, whose square is nothing.
    """
    if norm is BallNorm.LINF:
        return gradient.sign()
    largest = each(gradient.flatten(1).abs().amax(1), gradient)
    scaled = torch.where(largest > 0, gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny), 0.0)
    return scaled / each(size_of(scaled, norm).clamp_min(_TINY), scaled)


def somewhere(like: Tensor, norm: BallNorm, bound: Tensor, drawn: torch.Generator, *, on_edge: bool) -> Tensor:
    """Draw changes shaped as `like` (N, …) in balls of these radii, or on their edges: the corners of a cube, for linf.

    On the CPU whatever the device, so that a seed draws the same everywhere.
    """
    if norm is BallNorm.LINF:
        change = torch.rand(like.shape, generator=drawn) * 2 - 1
        change = change.sign() if on_edge else change
    else:
        change = steepest(torch.randn(like.shape, generator=drawn), norm)
        if not on_edge:
            dimensions = like[0].numel()
            change = change * each(torch.rand(len(like), generator=drawn) ** (1 / dimensions), change)
    return change.to(like) * each(bound, like)


def in_whole_levels(pixels: Tensor, start: Tensor, norm: BallNorm, bound: Tensor) -> Tensor:
    """Round changed pixels to 0..255: to the nearest level, or where that leaves the ball, towards `start`."""
    change = pixels - start
    rounded = change.round()
    outside = size_of(rounded, norm) > bound * (1 + 1e-6)
    chosen = torch.where(each(outside, change), change.trunc(), rounded)
    return (start + chosen).clamp(0, 255)


def each(values: Tensor, like: Tensor) -> Tensor:
    """Shape (N,) so that it applies to each of `like`: (N, 1, …), with as many dimensions."""
    return values.reshape(-1, *([1] * (like.ndim - 1)))
