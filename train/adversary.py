"""The adversary of a training: a bounded localizer that moves each image so that the classifier fails most.

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

from lstn.contract import Loc, ThetaForm
from lstn.errors import UsageError
from lstn.nn.localizers import Localizer, build_localizer, usual_view
from lstn.train.augment import SHIFT, TURN_DEG, ZOOM, Augment
from lstn.train.equivariance import move

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

    def forward(self, pixels: Tensor, poses: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Move images, float32 from 0 to 255 then, and the poses (N, 2, 3) of what is in them."""
        images = pixels.permute(0, 3, 1, 2).float()
        thetas = self.propose(images)
        moved = move(images, thetas).permute(0, 2, 3, 1)
        return moved, None if poses is None else _undone(thetas.detach()) @ _square(poses)

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
        """Take one step by the gradients that the classifier's backward pass left, unless one isn't finite."""
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def check_processes(augment: Augment, processes: int) -> None:
    """Refuse an adversary in a training of several processes, each of which would have one of its own.

    Raises:
        UsageError: that is asked for.
    """
    if augment == "adversarial" and processes > 1:
        raise UsageError(
            f"--augment adversarial trains in one process, not in {processes}",
            hint="start without torchrun, or use --augment affine",
        )


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient has the other sign."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def _square(poses: Tensor) -> Tensor:
    return torch.cat([poses, poses.new_tensor([[[0.0, 0.0, 1.0]]]).expand(len(poses), 1, 3)], dim=1)


def _undone(thetas: Tensor) -> Tensor:
    """Return where the content goes: the inverse of how the image is sampled, (N, 2, 3) -> (N, 2, 3)."""
    return torch.linalg.inv(_square(thetas))[:, :2]
