"""The EfficientNets of the L-STN paper, which are not torchvision's: their expansion convolution is 3x3, not 1x1.

The paper doesn't say so; its parameter counts do (Tables 4 and 5, reproduced to the unit). They belong to compound
scaling with phi = 0, 0.5, 1, 2, 3, 4 for B0-B5, a width of 1.1 ** phi and a depth of 1.2 ** phi (Tan & Le 2019,
equation 3), where torchvision uses the rounded factors of the reference code.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

import torch
from torch import nn
from torchvision.ops import SqueezeExcitation, StochasticDepth


@dataclass(frozen=True, slots=True)
class Scale:
    """One member: the exponent of compound scaling, the side of its images in pixels, its classifier's dropout."""

    phi: float
    image_size: int
    dropout: float


SCALES = {
    "b0": Scale(0, 224, 0.2),
    "b1": Scale(0.5, 240, 0.2),
    "b2": Scale(1, 260, 0.3),
    "b3": Scale(2, 300, 0.3),
    "b4": Scale(3, 380, 0.4),
    "b5": Scale(4, 456, 0.4),
}

_STAGES = (  # expansion, channels, repeats, stride, kernel: Tan & Le 2019, Table 1
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

_DROP_BLOCK = 0.2
"""How often training skips a residual block. The paper is silent; like dropout it changes no count."""


def paper_effnet(version: str, classes: int) -> nn.Module:
    """Make `b0` ... `b5`: (N, 3, H, W) float32 -> logits (N, classes)."""
    scale = SCALES[version]
    width, depth = 1.1**scale.phi, 1.2**scale.phi
    channels = int(32 * width)
    layers: list[nn.Module] = [_conv(3, channels, kernel=3, stride=2)]
    for expansion, base, repeats, stride, kernel in _STAGES:
        out = 4 * ceil(int(base * width) / 4)
        for repeat in range(ceil(repeats * depth)):
            layers.append(_Block(channels, out, expansion=expansion, kernel=kernel, stride=1 if repeat else stride))
            channels = out
    head = ceil(1280 * width)
    layers += [_conv(channels, head, kernel=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    classifier = nn.Sequential(nn.Dropout(scale.dropout), nn.Linear(head, classes))
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), classifier=classifier))


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, squeeze-excitation, project; added to the input where shapes agree."""

    def __init__(self, channels: int, out: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = channels * expansion
        layers: list[nn.Module] = [_conv(channels, hidden, kernel=3)] if expansion > 1 else []
        layers += [
            _conv(hidden, hidden, kernel=kernel, stride=stride, groups=hidden),
            SqueezeExcitation(hidden, channels // 4, activation=nn.SiLU),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        ]
        self.residual = stride == 1 and channels == out
        if self.residual:
            layers.append(StochasticDepth(_DROP_BLOCK, mode="row"))
        self.layers = nn.Sequential(*layers)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) -> (N, out, H / stride, W / stride), rounded up."""
        result: torch.Tensor = self.layers(maps)
        return result + maps if self.residual else result


def _conv(channels: int, out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.SiLU(inplace=True))
