"""Backbones: one table from a name to a network and what belongs to it."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

from torch import nn
from torchvision import models
from torchvision.models import WeightsEnum

from lstn.errors import UsageError
from lstn.nn.nets import cnn, vgg_column, zfnet
from lstn.nn.paper_effnet import SCALES, paper_effnet


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that classifies.

    factory:    number of classes K -> a module from normalised images (N, 3, H, W) float32 to logits (N, K)
    image_size: the side it was designed for, in pixels, and the default one
    smallest:   the smallest side that leaves it anything to classify
    weights:    what torchvision publishes for it, trained on ImageNet; None if nothing
    rate:       the learning rate that it takes, as a share of that for networks with BatchNorm
    """

    factory: Callable[[int], nn.Module]
    image_size: int
    smallest: int = 1
    weights: WeightsEnum | None = None
    rate: float = 1.0


FOREIGN = "module:"
"""How a contract's name begins for a backbone that a program brings along."""


def foreign_name(backbone: nn.Module) -> str:
    """Return what a contract calls a module that a program brings along: `module:` and its class."""
    return f"{FOREIGN}{type(backbone).__name__:.100}"


def backbone_named(name: str) -> Backbone:
    """Look a backbone up.

    Raises:
        UsageError: there is none of that name, and the error lists those there are; or it is a program's own, which
            nobody else can make.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(FOREIGN):
        raise UsageError(
            f"its backbone is {name.removeprefix(FOREIGN)!r:.80}, a module of your own, which lstn can't make",
            hint="use it from Python: lstn.nn.load_checkpoint(path, backbone=...), lstn.export_onnx or lstn.fit",
        )
    close = get_close_matches(name.lower(), BACKBONES, n=1)
    guess = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"there is no model called {name!r:.80}{guess}", hint=f"choose one of: {', '.join(BACKBONES)}")


def _published(model: Callable[..., nn.Module], weights: WeightsEnum, rate: float = 1.0) -> Backbone:
    """Make the entry of a network of torchvision's: the sizes are those its best weights were made for."""
    return Backbone(
        factory=lambda classes: model(num_classes=classes),
        image_size=weights.transforms().crop_size[0],
        smallest=max(weights.meta["min_size"]),
        weights=weights,
        rate=rate,
    )


def _googlenet(classes: int) -> nn.Module:
    """torchvision's GoogLeNet without its two auxiliary classifiers.

    Its ImageNet weights expect inputs on another scale, which `transform_input` makes of the usual one. It is on
    whatever the weights, because a checkpoint stores tensors and not this flag.
    """
    net: nn.Module = models.googlenet(num_classes=classes, aux_logits=False, init_weights=False, transform_input=True)
    return net


def _vgg(name: str, weights: WeightsEnum | None = None, rate: float = 0.2) -> Backbone:
    return Backbone(partial(vgg_column, name), image_size=224, smallest=32, weights=weights, rate=rate)


def _paper(version: str) -> Backbone:
    return Backbone(partial(paper_effnet, version), image_size=SCALES[version].image_size)


_GOOGLENET_WEIGHTS = models.GoogLeNet_Weights.DEFAULT

BACKBONES: dict[str, Backbone] = {
    "cnn": Backbone(cnn, image_size=64, smallest=4, rate=2.0),
    "effnet-b0": _published(models.efficientnet_b0, models.EfficientNet_B0_Weights.DEFAULT),
    "effnet-b1": _published(models.efficientnet_b1, models.EfficientNet_B1_Weights.DEFAULT),
    "effnet-b2": _published(models.efficientnet_b2, models.EfficientNet_B2_Weights.DEFAULT),
    "effnet-b3": _published(models.efficientnet_b3, models.EfficientNet_B3_Weights.DEFAULT),
    "effnet-b4": _published(models.efficientnet_b4, models.EfficientNet_B4_Weights.DEFAULT),
    "effnet-b5": _published(models.efficientnet_b5, models.EfficientNet_B5_Weights.DEFAULT),
    "effnet-b6": _published(models.efficientnet_b6, models.EfficientNet_B6_Weights.DEFAULT),
    "effnet-b7": _published(models.efficientnet_b7, models.EfficientNet_B7_Weights.DEFAULT),
    "paper-effnet-b0": _paper("b0"),
    "paper-effnet-b1": _paper("b1"),
    "paper-effnet-b2": _paper("b2"),
    "paper-effnet-b3": _paper("b3"),
    "paper-effnet-b4": _paper("b4"),
    "paper-effnet-b5": _paper("b5"),
    "resnet-18": _published(models.resnet18, models.ResNet18_Weights.DEFAULT),
    "resnet-34": _published(models.resnet34, models.ResNet34_Weights.DEFAULT),
    "resnet-50": _published(models.resnet50, models.ResNet50_Weights.DEFAULT),
    "resnet-101": _published(models.resnet101, models.ResNet101_Weights.DEFAULT),
    "resnet-152": _published(models.resnet152, models.ResNet152_Weights.DEFAULT),
    "densenet-121": _published(models.densenet121, models.DenseNet121_Weights.DEFAULT),
    "densenet-161": _published(models.densenet161, models.DenseNet161_Weights.DEFAULT),
    "densenet-169": _published(models.densenet169, models.DenseNet169_Weights.DEFAULT),
    "densenet-201": _published(models.densenet201, models.DenseNet201_Weights.DEFAULT),
    "alexnet": _published(models.alexnet, models.AlexNet_Weights.DEFAULT, rate=0.4),
    "googlenet": Backbone(_googlenet, image_size=224, smallest=15, weights=_GOOGLENET_WEIGHTS),
    "zfnet": Backbone(zfnet, image_size=224, smallest=53, rate=0.4),
    "vgg-11": _published(models.vgg11, models.VGG11_Weights.DEFAULT, rate=0.2),
    "vgg-13": _published(models.vgg13, models.VGG13_Weights.DEFAULT, rate=0.2),
    "vgg-16": _published(models.vgg16, models.VGG16_Weights.DEFAULT, rate=0.2),
    "vgg-19": _published(models.vgg19, models.VGG19_Weights.DEFAULT, rate=0.1),
    "vgg-a": _vgg("vgg-a", models.VGG11_Weights.DEFAULT),
    "vgg-a-lrn": _vgg("vgg-a-lrn"),
    "vgg-b": _vgg("vgg-b", models.VGG13_Weights.DEFAULT),
    "vgg-c": _vgg("vgg-c"),
    "vgg-d": _vgg("vgg-d", models.VGG16_Weights.DEFAULT),
    "vgg-e": _vgg("vgg-e", models.VGG19_Weights.DEFAULT, rate=0.1),
}
"""Every backbone by name.

Rates: those without BatchNorm were tried with several on the embedded digits. At 0.001 VGG-11 and AlexNet stayed at
chance for thousands of steps; VGG-19 learned slower at 0.0002 than at 0.0001."""
