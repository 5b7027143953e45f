"""A generator and its discriminator as they train: real pictures -> how real these and painted ones look."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lstn.nn.generation.generator import Generator


class JudgedStep(NamedTuple):
    """What a step is made of, all float32.

    real, fake: (N,), how real the discriminator takes real images and painted ones to be
    fooled:     (N,), the same as `fake`; its gradient goes to the generator alone, and that of `fake` to the
                discriminator alone
    slope:      a scalar: the mean squared norm of the gradient of `real` at the images
    mask:       a scalar: the mean of the objects' masks; 0 without a place
    """

    real: Tensor
    fake: Tensor
    fooled: Tensor
    slope: Tensor
    mask: Tensor


class AdversarialNetwork(nn.Module):
    """A generator and its discriminator as they train: pixels (N, H, W, 3) uint8, labels (N,) int64 -> what a step is
    made of. What is painted is of the same classes."""

    def __init__(self, model: Generator) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, labels: Tensor) -> JudgedStep:
        """Return how both kinds of images are judged."""
        model = self.model
        painted = model.paint(torch.randn(len(labels), model.contract.noise, device=labels.device), labels)
        images, shown = model.standardise(painted.pictures), model.normalise(pixels).requires_grad_()
        real, fake = model.judge(shown, labels), model.judge(images.detach(), labels)
        (slope,) = torch.autograd.grad(real.sum(), shown, create_graph=True)
        held = {name: weight.detach() for name, weight in model.discriminator.named_parameters()}
        logits = functional_call(model.discriminator, held, images)
        fooled = logits.gather(1, labels[:, None])[:, 0]
        mask = fooled.new_zeros(()) if painted.mask is None else painted.mask.mean()
        return JudgedStep(real, fake, fooled, slope.square().sum((1, 2, 3)).mean(), mask)
