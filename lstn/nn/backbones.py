"""Backbones: one table from a name to a network and what belongs to it."""

from difflib import get_close_matches
from functools import partial

from torch import nn
from torchvision import models
from torchvision.models import WeightsEnum

from lstn.errors import UsageError
from lstn.nn.sources.backbone import Backbone
from lstn.nn.sources.nets import cnn, dcgan, vgg_column, zfnet
from lstn.nn.sources.paper_effnet import SCALES, paper_effnet
from lstn.nn.sources.timm_models import TIMM, timm_backbone, timm_names
from lstn.nn.sources.torchvision_models import published, torchvision_backbone, torchvision_names, without_aux

FOREIGN = "module:"
"""How a contract's name begins for a backbone that a program brings along."""


def foreign_name(backbone: nn.Module) -> str:
    """Return what a contract calls a module that a program brings along: `module:` and its class.

    Raises:
        UsageError: it is no module.
    """
    check_module(backbone, "the backbone")
    return f"{FOREIGN}{type(backbone).__name__:.100}"


def check_module(given: object, what: str) -> None:
    """Check that a program gave a network, and not its class, a function or a name.

    Raises:
        UsageError: it gave something else.
    """
    if isinstance(given, nn.Module):
        return
    if isinstance(given, type):
        raise UsageError(
            f"{what} is the class {given.__name__}, and not a network", hint=f"make one: {given.__name__}()"
        )
    raise UsageError(f"{what} is a {type(given).__name__}, and not a torch.nn.Module", hint="give the network itself")


def backbone_named(name: str) -> Backbone:
    """Look a backbone up: lstn's own names come first, then torchvision's, and timm's with their prefix.

    A name never imports code of its own: a contract from somewhere holds one.

    Raises:
        UsageError: there is none of that name, and the error names the closest.
        MissingExtra: it is one of timm's, which is not installed.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(FOREIGN):
        return Backbone(lambda classes: _refused(name), image_size=224)
    if name in torchvision_names():
        return torchvision_backbone(name)
    found = timm_backbone(name) if name.startswith(TIMM) else None
    if found is None:
        raise _unknown(name)
    return found


def _refused(name: str) -> nn.Module:
    raise UsageError(
        f"its backbone is {name.removeprefix(FOREIGN)!r:.80}, a module of your own, which no file makes lstn import",
        hint="say where it is made: lstn export, explain, attack and train --resume take --model MODULE:FACTORY; "
        "others take the model.onnx of lstn export; from Python: lstn.nn.load_checkpoint(path, backbone=...)",
    )


def _unknown(name: str) -> UsageError:
    known = (*BACKBONES, *torchvision_names(), *timm_names())
    # Without its prefix, a name that is right but for that is closest to itself.
    near = get_close_matches(name.lower().removeprefix(TIMM), (each.removeprefix(TIMM) for each in known), n=1)
    close = next((each for each in known if near and each.removeprefix(TIMM) == near[0]), "")
    guess = f"; did you mean {close}?" if close else ""
    return UsageError(
        f"there is no model called {name!r:.80}{guess}",
        hint=f"choose one of: {', '.join(BACKBONES)}; or any of torchvision's by its name there, such as "
        "mobilenet_v3_small; or any of timm's as timm:NAME",
    )


def _vgg(name: str, weights: WeightsEnum | None = None, rate: float = 0.2) -> Backbone:
    return Backbone(partial(vgg_column, name), image_size=224, smallest=32, weights=weights, rate=rate, wide=True)


def _paper(version: str) -> Backbone:
    return Backbone(partial(paper_effnet, version), image_size=SCALES[version].image_size)


BACKBONES: dict[str, Backbone] = {
    "cnn": Backbone(cnn, image_size=64, smallest=4, rate=2.0),
    "dcgan": Backbone(dcgan, image_size=64, smallest=16, rate=0.5),
    "effnet-b0": published(models.efficientnet_b0, models.EfficientNet_B0_Weights.DEFAULT),
    "effnet-b1": published(models.efficientnet_b1, models.EfficientNet_B1_Weights.DEFAULT),
    "effnet-b2": published(models.efficientnet_b2, models.EfficientNet_B2_Weights.DEFAULT),
    "effnet-b3": published(models.efficientnet_b3, models.EfficientNet_B3_Weights.DEFAULT),
    "effnet-b4": published(models.efficientnet_b4, models.EfficientNet_B4_Weights.DEFAULT),
    "effnet-b5": published(models.efficientnet_b5, models.EfficientNet_B5_Weights.DEFAULT),
    "effnet-b6": published(models.efficientnet_b6, models.EfficientNet_B6_Weights.DEFAULT),
    "effnet-b7": published(models.efficientnet_b7, models.EfficientNet_B7_Weights.DEFAULT),
    "paper-effnet-b0": _paper("b0"),
    "paper-effnet-b1": _paper("b1"),
    "paper-effnet-b2": _paper("b2"),
    "paper-effnet-b3": _paper("b3"),
    "paper-effnet-b4": _paper("b4"),
    "paper-effnet-b5": _paper("b5"),
    "resnet-18": published(models.resnet18, models.ResNet18_Weights.DEFAULT),
    "resnet-34": published(models.resnet34, models.ResNet34_Weights.DEFAULT),
    "resnet-50": published(models.resnet50, models.ResNet50_Weights.DEFAULT),
    "resnet-101": published(models.resnet101, models.ResNet101_Weights.DEFAULT),
    "resnet-152": published(models.resnet152, models.ResNet152_Weights.DEFAULT),
    "densenet-121": published(models.densenet121, models.DenseNet121_Weights.DEFAULT),
    "densenet-161": published(models.densenet161, models.DenseNet161_Weights.DEFAULT),
    "densenet-169": published(models.densenet169, models.DenseNet169_Weights.DEFAULT),
    "densenet-201": published(models.densenet201, models.DenseNet201_Weights.DEFAULT),
    "alexnet": published(models.alexnet, models.AlexNet_Weights.DEFAULT, rate=0.4),
    "googlenet": published(without_aux(models.googlenet), models.GoogLeNet_Weights.DEFAULT),
    "zfnet": Backbone(zfnet, image_size=224, smallest=53, rate=0.4),
    "vgg-11": published(models.vgg11, models.VGG11_Weights.DEFAULT, rate=0.2, wide=True),
    "vgg-13": published(models.vgg13, models.VGG13_Weights.DEFAULT, rate=0.2, wide=True),
    "vgg-16": published(models.vgg16, models.VGG16_Weights.DEFAULT, rate=0.2, wide=True),
    "vgg-19": published(models.vgg19, models.VGG19_Weights.DEFAULT, rate=0.1, wide=True),
    "vgg-a": _vgg("vgg-a", models.VGG11_Weights.DEFAULT),
    "vgg-a-lrn": _vgg("vgg-a-lrn"),
    "vgg-b": _vgg("vgg-b", models.VGG13_Weights.DEFAULT),
    "vgg-c": _vgg("vgg-c"),
    "vgg-d": _vgg("vgg-d", models.VGG16_Weights.DEFAULT),
    "vgg-e": _vgg("vgg-e", models.VGG19_Weights.DEFAULT, rate=0.1),
}
"""Every backbone by name.

Rates: those without BatchNorm were tried with several on the embedded digits. At 0.001 VGG-11 and AlexNet stayed at
chance for thousands of steps; VGG-19 learned slower at 0.0002 than at 0.0001.

Wide: each step reads and writes every weight, and of 60 to 140 million that takes most of it where images are small. At
44 px VGG-11 takes 0.81 s for 64 images and 0.66 s for 32 (two cores), and is as often right.
ZFNet gains a fifth of its time, and had 94.5 % of the embedded digits right instead of 96.7."""
