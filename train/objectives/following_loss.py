"""Following: the crop of a moved picture should move along. The second loss of `--equivariance`, without labels.

A picture was moved by a matrix A (`lstn.train.batches.drawn_moves`). Had theta followed the move, A theta' would be
theta: the same crop of the same content. A theta that doesn't depend on the image can't make the difference small.
"""

from torch import Tensor

from lstn.nn.warping.forms import frame
from lstn.nn.warping.transformer import compose

_LEAST = 1e-4
"""Added to squared lengths: a theta that collapsed to a point has neither angle nor size, nor a finite gradient."""


def unfollowed(theta: Tensor, of_moved: Tensor, moves: Tensor, ratio: float) -> Tensor:
    """Return how much of the moves the crops didn't follow, a scalar: theta, of_moved (N, …), moves (N, 2, 3) float32.

    It is the mean squared distance between the corners of two crops as large as the picture, in half sides, which
    differ by the angle, the logarithm of the size, and the shift by which A theta' differs from theta. Each counts
    by itself: of the corners of the crops themselves a smaller crop has smaller distances, in the picture's frame,
    and a larger one, in its own, smaller shifts, so that the loss would shrink it or make it grow (seen, both).

    A warp that isn't affine counts as the affine one nearest to it, which has to move along.

    ratio: width over height of the picture
    """
    theta, followed = frame(theta), compose(moves, frame(of_moved))
    real, imaginary = _turn(theta, ratio)
    other_real, other_imaginary = _turn(followed, ratio)
    length = (real.square() + imaginary.square() + _LEAST).sqrt()
    other_length = (other_real.square() + other_imaginary.square() + _LEAST).sqrt()
    turned = 1 - (real * other_real + imaginary * other_imaginary + _LEAST) / (length * other_length)
    zoomed = (length.log() - other_length.log()).square()
    shifted = (theta[:, :, 2] - followed[:, :, 2]).square().sum(1)
    return (4 * turned + 2 * zoomed + shifted).mean()


def _turn(theta: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Return the rotation nearest to each theta times its scale, a complex number: real and imaginary part, (N,)."""
    return (theta[:, 0, 0] + theta[:, 1, 1]) / 2, (theta[:, 1, 0] / ratio - theta[:, 0, 1] * ratio) / 2
