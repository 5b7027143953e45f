"""Backbones in two: the first layers, which end where the first features are, or later, and the rest."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchvision.models.alexnet import AlexNet
from torchvision.models.densenet import DenseNet
from torchvision.models.efficientnet import EfficientNet
from torchvision.models.googlenet import GoogLeNet
from torchvision.models.resnet import ResNet
from torchvision.models.vgg import VGG

from lstn.errors import UsageError

Layers: TypeAlias = list[Callable[[Tensor], Tensor]]
"""To be called one after another; modules among them are the backbone's own."""


def split(backbone: nn.Module) -> tuple[Layers, Layers]:
    """Return a backbone's first layers, up to its first pooling or the first block that halves its maps, and the rest.

    One after the other they compute what the backbone does.

    Raises:
        UsageError: a network of another kind than those in `BACKBONES`.
    """
    match backbone:
        case ResNet() as net:
            stem: Layers = [net.conv1, net.bn1, net.relu, net.maxpool]
            return stem, [net.layer1, net.layer2, net.layer3, net.layer4, net.avgpool, _flat, net.fc]
        case DenseNet() as net:
            after: Layers = [torch.relu, partial(nn.functional.adaptive_avg_pool2d, output_size=1)]
            return _after_first_stage(net.features, *after, _flat, net.classifier)
        case GoogLeNet() as net:
            names = "conv2 conv3 maxpool2 3a 3b maxpool3 4a 4b 4c 4d 4e maxpool4 5a 5b avgpool"
            rest = [getattr(net, name if name[0].isalpha() else f"inception{name}") for name in names.split()]
            return [net._transform_input, net.conv1, net.maxpool1], [*rest, _flat, net.dropout, net.fc]
        case VGG() | AlexNet() | EfficientNet() as net:
            return _after_first_stage(net.features, net.avgpool, _flat, net.classifier)
        case nn.Sequential(features=nn.Sequential() as features, classifier=nn.Module() as classifier):
            return _after_first_stage(features, classifier)
    raise UsageError(
        f"lstn doesn't know where the first layers of a {type(backbone).__name__} end",
        hint="warp its input (at=input), with a localizer of its own: stn, vstn or lstn",
    )


COARSEST = 16
"""The map that a detector cuts from has at least so small a share of the image's side, as Faster R-CNN's has."""


def late_cut(backbone: nn.Module, image_hw: tuple[int, int]) -> int:
    """Return how many of a backbone's layers end with its last map of a sixteenth of the image's sides or more.

    Raises:
        UsageError: as `split`.
    """
    stem, rest = split(backbone)
    fewest = [math.ceil(side / COARSEST) for side in image_hw]
    maps = enumerate(_maps_of(backbone, [*stem, *rest], image_hw), 1)
    fine = [
        place for place, each in maps if each.dim() == 4 and each.shape[2] >= fewest[0] and each.shape[3] >= fewest[1]
    ]
    return max([len(stem), *fine])


def split_at(backbone: nn.Module, cut: int) -> tuple[Layers, Layers]:
    """Return so many of a backbone's layers, and the rest."""
    stem, rest = split(backbone)
    layers = [*stem, *rest]
    return layers[:cut], layers[cut:]


def run(layers: Layers, images: Tensor) -> Tensor:
    """Call one layer after another."""
    for layer in layers:
        images = layer(images)
    return images


def stem_shape(backbone: nn.Module, image_hw: tuple[int, int]) -> tuple[int, int, int]:
    """Return channels, height and width of what the stem makes of an image."""
    return shape_behind(backbone, split(backbone)[0], image_hw)


def shape_behind(backbone: nn.Module, layers: Layers, image_hw: tuple[int, int]) -> tuple[int, int, int]:
    """Return channels, height and width of what a backbone's first layers make of an image."""
    _, channels, height, width = _maps_of(backbone, layers, image_hw)[-1].shape
    return channels, height, width


@torch.no_grad()
def _maps_of(backbone: nn.Module, layers: Layers, image_hw: tuple[int, int]) -> list[Tensor]:
    """Return what each of a backbone's layers makes of a blank image."""
    was_training = backbone.training
    backbone.eval()
    maps = [torch.zeros(1, 3, *image_hw, device=next(backbone.parameters()).device)]
    for layer in layers:
        maps.append(layer(maps[-1]))
    backbone.train(was_training)
    return maps[1:]


def _after_first_stage(features: Iterable[nn.Module], *after: Callable[[Tensor], Tensor]) -> tuple[Layers, Layers]:
    """Cut behind the first pooling, or the first block of a convolution with its BatchNorm, whichever comes first."""
    layers: Layers = list(features)
    end = 1 + next(index for index, layer in enumerate(layers) if isinstance(layer, (nn.MaxPool2d, nn.Sequential)))
    return layers[:end], [*layers[end:], *after]


def _flat(maps: Tensor) -> Tensor:
    return torch.flatten(maps, 1)
