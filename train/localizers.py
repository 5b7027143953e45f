"""Localizers: images -> theta, the affine matrix that says where to look (L-STN paper, Tables 1-3)."""

from collections.abc import Callable
from itertools import count

import torch
from torch import nn

from lstn.contract import Loc, ThetaForm
from lstn.errors import UsageError
from lstn.train.bounds import BOUNDS

HIDDEN = 32
"""Width of the head's hidden layer, the same in all three localizers."""


class Localizer(nn.Module):
    """Normalised images (N, 3, H, W) float32 -> theta (N, 2, 3) float32.

    `features` is one of the stacks of Tables 1-3; `head` is flatten -> Linear 32 -> ReLU -> Linear 6, or fewer numbers
    where theta is bounded. The head's size depends on the image's, so a localizer is made for one `image_hw`.
    """

    def __init__(self, features: nn.Sequential, image_hw: tuple[int, int], theta: ThetaForm = ThetaForm.AFFINE) -> None:
        super().__init__()
        height, width = (feature_side(features, side) for side in image_hw)
        bounds = BOUNDS[theta]
        last = nn.Linear(HIDDEN, len(bounds.start))
        # Starting from one warp whatever the image: a random one would hide the object from an untrained backbone.
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(bounds.start))
        self.features = features
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(_channels(features) * height * width, HIDDEN), nn.ReLU(inplace=True), last
        )
        self._theta = bounds.theta

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) float32 -> (N, 2, 3) float32, in the frame where the image spans -1..1 on both axes."""
        return self._theta(self.head(self.features(images)))


def build_localizer(loc: Loc, image_hw: tuple[int, int], theta: ThetaForm = ThetaForm.AFFINE) -> Localizer:
    """Make the localizer `loc`, any but NONE, for images of `image_hw` pixels; and what theta can be.

    Raises:
        UsageError: a side is so small that the features would leave nothing of it.
    """
    features = LOCALIZERS[loc]()
    smallest = next(side for side in count(1) if feature_side(features, side) > 0)
    if min(image_hw) < smallest:
        height, width = image_hw
        raise UsageError(
            f"images of {height} x {width} pixels are too small for localizer {loc.value}, "
            f"which needs {smallest} x {smallest}",
            hint="use a larger image size, or --loc none",
        )
    return Localizer(features, image_hw, theta)


def stn_features() -> nn.Sequential:
    """STN, Table 1: (N, 3, H, W) -> (N, 10, h, w), 3,194 parameters; two large kernels, conv -> maxpool -> ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7), nn.MaxPool2d(2), nn.ReLU(inplace=True),
        nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True),
    )  # fmt: skip


def vstn_features() -> nn.Sequential:
    """V-STN, Table 2: (N, 3, H, W) -> (N, 10, h, w), 3,032 parameters; each large kernel as a run of 3x3 ones."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3), nn.ReLU(inplace=True),
        nn.Conv2d(10, 10, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    )  # fmt: skip


def lstn_features() -> nn.Sequential:
    """L-STN, Table 3: (N, 3, H, W) -> (N, 10, h, w), 3,690 parameters; bottlenecks of conv -> BatchNorm -> ReLU.

    The paper prints 16 BatchNorm parameters in rows 4 and 7; 8 is meant, for only then do the rows add up to its total.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, kernel, stride, padding in _LSTN_CONVS:
        # The bias is redundant in front of BatchNorm and folds away with it; Table 3 counts it.
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


_LSTN_CONVS = (  # output channels, kernel, stride, padding
    (4, 3, 2, 1), (8, 1, 1, 0), (8, 3, 1, 0), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 1, 0), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 2, 1), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 1, 1), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 1, 0), (4, 1, 1, 0),
    (10, 1, 1, 0),
)  # fmt: skip

LOCALIZERS: dict[Loc, Callable[[], nn.Sequential]] = {
    Loc.STN: stn_features,
    Loc.VSTN: vstn_features,
    Loc.LSTN: lstn_features,
}
"""Every localizer's features; total over `Loc` but for NONE."""


def feature_side(features: nn.Sequential, side: int) -> int:
    """Return how many of an image's `side` pixels the features leave, 0 for none."""
    for layer in features:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            kernel, stride, padding = (_first(value) for value in (layer.kernel_size, layer.stride, layer.padding))
            if side + 2 * padding < kernel:
                return 0
            side = (side + 2 * padding - kernel) // stride + 1
    return side


def _channels(features: nn.Sequential) -> int:
    return [layer.out_channels for layer in features if isinstance(layer, nn.Conv2d)][-1]


def _first(value: int | tuple[int, ...] | str) -> int:
    """One number of a layer's setting; every kernel, stride and padding here is square."""
    return int(value[0] if isinstance(value, tuple) else value)
