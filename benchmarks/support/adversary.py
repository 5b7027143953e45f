"""An adversary in training, for `robust`: a bounded localizer that moves images so that the classifier fails most.

    A-Fast-RCNN: hard positive generation via adversary for object detection (Wang et al. 2017),
    https://arxiv.org/abs/1704.03414

There a network learns what to hide, here where to move. One backward pass serves both: the gradient of the loss reaches
the adversary with its sign reversed (Ganin and Lempitsky 2015). Half of a batch is moved at random within the same
bounds, or the classifier would see nothing but what the adversary proposes now, and forget the rest.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lstn.contract import Contract, Loc, ThetaForm
from lstn.nn.classifier import Classifier
from lstn.nn.warping.localizers import Localizer, build_localizer, usual_view
from lstn.train.batches.drawn_moves import move

TURN_DEG, SHIFT, ZOOM = 15.0, 0.1, 1.1
"""Largest moves, those of `--augment affine`: degrees either way, share of the side, times as large."""

_RATE = 0.001
_SPREAD = 0.01
"""Of the head's first weights: of zeros every image would get the same move, and the same gradient."""


class Adversary(nn.Module):
    """Images (N, H, W, 3) uint8 -> the same, moved; its weights climb the loss that the classifier's go down.

    Bounded by sine: tanh saturates, and then proposes one corner of the bounds for every image (seen).
    """

    def __init__(self, image_hw: tuple[int, int], seed: int) -> None:
        super().__init__()
        view_hw = usual_view(Loc.GLANCE, image_hw)
        with torch.random.fork_rng(devices=[]):  # the classifier starts alike, whatever its training
            torch.manual_seed(seed)
            localizer = build_localizer(Loc.GLANCE, image_hw, ThetaForm.SIMILARITY, view_hw=view_hw)
            assert isinstance(localizer, Localizer)
            nn.init.normal_(localizer.head[-1].weight, 0, _SPREAD)
        self.localizer = localizer
        self.optimizer = torch.optim.Adam(self.parameters(), lr=_RATE)

    def forward(self, pixels: Tensor) -> Tensor:
        """Move images; they are float32 from 0 to 255 then."""
        images = pixels.permute(0, 3, 1, 2).float()
        return move(images, self.propose(images)).permute(0, 2, 3, 1)

    def propose(self, images: Tensor) -> Tensor:
        """Return how each image (N, 3, H, W), 0 to 255, is sampled, (N, 2, 3): every other one at random."""
        numbers = self.localizer.head(self.localizer.features(images / 127.5 - 1))
        learned = torch.sin(_Reversed.apply(numbers))
        drawn = torch.rand(learned.shape, device="cpu").to(learned) * 2 - 1
        random = torch.arange(len(images), device=images.device)[:, None] % 2 == 1
        share = torch.where(random, drawn, learned)
        angle, size = math.radians(TURN_DEG) * share[:, 0], ZOOM ** share[:, 1]
        cos, sin, shift = size * angle.cos(), size * angle.sin(), 2 * SHIFT * share[:, 2:]
        ratio = images.shape[3] / images.shape[2]  # of an oblong image a turn would shear without it
        rows = [cos, -sin / ratio, shift[:, 0], sin * ratio, cos, shift[:, 1]]
        return torch.stack(rows, dim=1).reshape(-1, 2, 3)

    def learn(self) -> None:
        """Take one step by the gradients that the classifier's backward pass left; before the first there are none."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient has the other sign."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


class Opposed(Classifier):
    """A classifier whose training images an adversary moves; in evaluation the same as any other.

    The adversary is not a part of its weights. It takes its step by the gradients of one batch before the next one.
    """

    def __init__(self, contract: Contract, seed: int) -> None:
        super().__init__(contract)
        self._adversary = (Adversary(contract.image_hw, seed),)  # in a tuple, so that it is not a part

    def transform(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Move the images first, while training."""
        if not self.training:
            return super().transform(pixels)
        (adversary,) = self._adversary
        adversary.learn()
        return super().transform(adversary(pixels))
