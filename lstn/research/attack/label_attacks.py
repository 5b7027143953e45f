"""Attacks on the label by small changes of pixels: noise, FGSM and PGD, on a checkpoint.

FGSM is one step to the edge of the ball (Goodfellow et al. 2015), PGD many within it, from random places (Madry et al.
2018). Both climb the logarithm of the odds against the label, whose gradient points where that of the cross entropy
does, and doesn't vanish where the model is sure. Of all places on the way the one counts, in whole grey levels, whose
label is most wrong, so that more steps or starts never help the model.
"""

from enum import Enum

import torch
from torch import Tensor

from lstn.nn.classifier import Classifier
from lstn.research.attack.ascent import Strongest, ascend_pixels
from lstn.research.attack.balls import BallNorm, somewhere


class LabelAttack(str, Enum):
    """How the pixels are changed, weakest first."""

    NOISE = "noise"
    FGSM = "fgsm"
    PGD = "pgd"


def logits_of(model: Classifier, pixels: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 or float32 from 0 to 255 -> logits (N, K), with gradients."""
    answer = model(pixels)
    logits: Tensor = answer if isinstance(answer, Tensor) else answer[0]
    return logits


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the best wrong logit exceeds that of the label, (N,): above 0 the answer is wrong."""
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return others - own


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logarithm of the odds against each label, (N, K), (N,) -> (N,): the cross entropy is its softplus."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1) - own


def attack_labels(
    model: Classifier,
    pixels: Tensor,
    labels: Tensor,
    kind: LabelAttack,
    norm: BallNorm,
    bound: float,
    *,
    steps: int = 20,
    starts: int = 1,
    seed: int = 0,
) -> Tensor:
    """Return changed pixels in whole levels, (N, H, W, 3) float32, no further than `bound` from `pixels` (0 to 255).

    labels: (N,) int64, what the model is to stop saying
    bound:  grey levels, in the norm
    starts: of PGD: how often it begins at a random place; seed: of these places, and of noise
    """
    radius = pixels.new_full((len(pixels),), bound)
    kept = Strongest(pixels, lambda place: margin(logits_of(model, place), labels), norm, radius)

    def climbed(place: Tensor) -> Tensor:
        return log_odds(logits_of(model, place), labels)

    drawn = torch.Generator().manual_seed(seed)
    if kind is LabelAttack.NOISE:
        kept.offer((pixels + somewhere(pixels, norm, radius, drawn, on_edge=True)).clamp(0, 255))
    elif kind is LabelAttack.FGSM:
        for place in ascend_pixels(climbed, pixels, norm, radius, steps=1, step_share=1.0):
            kept.offer(place)
    else:
        for number in range(starts):
            start = None if number == 0 else drawn  # the picture itself, and then random places
            for place in ascend_pixels(climbed, pixels, norm, radius, steps=steps, drawn=start):
                kept.offer(place)
    return kept.pixels
