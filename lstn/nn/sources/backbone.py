"""Backbone: a network that classifies, and what belongs to it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torchvision.models import WeightsEnum

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that classifies.

    factory:    number of classes K -> a module from normalised images (N, 3, H, W) float32 to logits (N, K)
    image_size: the side it was designed for, in pixels, and the default one
    smallest:   the smallest side that leaves it anything to classify
    weights:    what torchvision publishes for it, trained on ImageNet; None if nothing
    rate:       the learning rate that it takes, as a share of that for networks with BatchNorm
    wide:       two linear layers take most of its time where images are small, so it takes twice the batch of these
    mean, std:  what its published weights expect images to be normalised by, per RGB channel on the 0..1 scale
    sized:      K, and height and width of images -> the module, of a network that is made for images of one size, such
                as a vision transformer; None: it takes all of at least `smallest`
    """

    factory: Callable[[int], nn.Module]
    image_size: int
    smallest: int = 1
    weights: WeightsEnum | None = None
    rate: float = 1.0
    wide: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    sized: Callable[[int, tuple[int, int]], nn.Module] | None = None

    def make(self, classes: int, image_hw: tuple[int, int]) -> nn.Module:
        """Make the module for images of this height and width, in pixels."""
        return self.factory(classes) if self.sized is None else self.sized(classes, image_hw)
