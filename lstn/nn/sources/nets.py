"""Backbones that torchvision doesn't have: ZFNet, the columns of VGG's Table 1, and small networks for digits."""

from collections import OrderedDict

from torch import nn
from torchvision.models.alexnet import AlexNet
from torchvision.models.vgg import VGG

# Krizhevsky et al. 2012 (section 3.3) scale the sum over n = 5 channels by 1e-4; torch scales the mean.
_LRN_SIZE, _LRN_ALPHA, _LRN_BETA, _LRN_K = 5, 5e-4, 0.75, 2.0

_VGG_COLUMNS = {
    "vgg-a": "64 | 128 | 256 256 | 512 512 | 512 512",
    "vgg-a-lrn": "64 lrn | 128 | 256 256 | 512 512 | 512 512",
    "vgg-b": "64 64 | 128 128 | 256 256 | 512 512 | 512 512",
    "vgg-c": "64 64 | 128 128 | 256 256 1x256 | 512 512 1x512 | 512 512 1x512",
    "vgg-d": "64 64 | 128 128 | 256 256 256 | 512 512 512 | 512 512 512",
    "vgg-e": "64 64 | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512",
}
"""Simonyan & Zisserman 2014, Table 1: `256` is a 3x3 convolution, `1x256` a 1x1 one, `|` a max-pooling."""


def vgg_column(name: str, classes: int) -> nn.Module:
    """Make `vgg-a` ... `vgg-e`: (N, 3, H, W) float32, 32 px up -> logits (N, classes).

    A, B, D and E have the layer names of torchvision's vgg11, 13, 16 and 19, so that their weights fit.
    """
    layers: list[nn.Module] = []
    channels = 3
    for block in _VGG_COLUMNS[name].split("|"):
        for word in block.split():
            if word == "lrn":
                layers.append(_local_response_norm())
                continue
            kernel = 1 if word.startswith("1x") else 3
            width = int(word.removeprefix("1x"))
            layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    net: nn.Module = VGG(nn.Sequential(*layers), num_classes=classes)
    return net


def zfnet(classes: int) -> nn.Module:
    """ZFNet: (N, 3, H, W) float32, 53 px up -> logits (N, classes). 62,357,608 parameters at 1000 classes.

    Zeiler & Fergus 2013, Figure 3: AlexNet on one GPU with a 7x7 first layer and stride 2 in the first two, whose
    results are normalised across channels after pooling. Its classifier is AlexNet's.
    """
    net: nn.Module = AlexNet(num_classes=classes)
    net.features = nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2, padding=1), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1), _local_response_norm(),
        nn.Conv2d(96, 256, 5, stride=2), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1), _local_response_norm(),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2),
    )  # fmt: skip
    return net


def cnn(classes: int) -> nn.Module:
    """Make a small network for digits: (N, 3, H, W) float32, 4 px up -> logits (N, classes); 19,178 parameters at 10.

    Two convolutions and one linear layer: enough for digits that stand upright in the middle and too little for digits
    that don't, so what a transformer adds can be seen within minutes. No BatchNorm: its running statistics would chase
    a transformer that moves the images while it learns.
    """
    features = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    )  # fmt: skip
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * 4 * 4, classes))
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


def dcgan(classes: int) -> nn.Module:
    """Make DCGAN's discriminator: (N, 3, H, W) float32, 16 px up -> logits (N, classes); 694,506 parameters at 10.

    Radford et al. 2016: convolutions of 4 x 4 with stride 2, and leaky ReLUs in the place of pooling, so that all of a
    picture gets a gradient. No BatchNorm, which would let a picture be judged by the others of its batch.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128, 256):
        layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        channels = width
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), classifier=classifier))


def _local_response_norm() -> nn.Module:
    return nn.LocalResponseNorm(_LRN_SIZE, _LRN_ALPHA, _LRN_BETA, _LRN_K)
