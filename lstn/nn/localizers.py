"""Localizers: images, or feature maps -> theta, the affine matrix that says where to look."""

from collections.abc import Callable
from itertools import count

import torch
from torch import nn

from lstn.contract import Loc, ThetaForm
from lstn.errors import UsageError
from lstn.nn.forms import BOUNDS

HIDDEN = 32
"""Width of the head's hidden layer, the same in all three localizers."""


class Localizer(nn.Module):
    """What it looks at, (N, C, h, w) float32 -> theta (N, 2, 3) float32.

    `features` is one of the stacks below; `head` is flatten -> Linear 32 -> ReLU -> Linear 6, or fewer numbers where
    theta is bounded. The head's size depends on the size of what it looks at, so a localizer is made for one.
    """

    def __init__(self, features: nn.Sequential, view_hw: tuple[int, int], theta: ThetaForm = ThetaForm.AFFINE) -> None:
        super().__init__()
        height, width = (feature_side(features, side) for side in view_hw)
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

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) float32 -> (N, 2, 3) float32, in the frame where the view spans -1..1 on both axes."""
        return self._theta(self.head(self.features(view)))


class IdentityLocalizer(nn.Module):
    """Theta is the identity whatever it looks at: what grid and sampler alone do to a classifier."""

    identity: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("identity", torch.tensor([[[1.0, 0, 0], [0, 1, 0]]]), persistent=False)

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) float32 -> (N, 2, 3) float32."""
        return self.identity.expand(len(view), 2, 3)


def build_localizer(
    loc: Loc,
    view_hw: tuple[int, int],
    theta: ThetaForm = ThetaForm.AFFINE,
    *,
    channels: int = 3,
    what: str = "images",
) -> nn.Module:
    """Make the localizer `loc`, any but NONE.

    view_hw, channels: of what it looks at, the image or a feature map, in pixels; `what` calls that in an error
    theta:             what theta can be

    Raises:
        UsageError: a side is so small that the features would leave nothing of it.
    """
    if loc is Loc.IDENTITY:
        return IdentityLocalizer()
    features = LOCALIZERS[loc](channels)
    smallest = next(side for side in count(1) if feature_side(features, side) > 0)
    if min(view_hw) < smallest:
        height, width = view_hw
        raise UsageError(
            f"{what} of {height} x {width} pixels are too small for localizer {loc.value}, "
            f"which needs {smallest} x {smallest}",
            hint="use a larger image size, or --loc none",
        )
    return Localizer(features, view_hw, theta)


def stn_features(channels: int) -> nn.Sequential:
    """STN, Table 1: (N, C, h, w) -> (N, 10, h', w'), 3,194 parameters of 3 channels; conv -> maxpool -> ReLU, twice."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 7), nn.MaxPool2d(2), nn.ReLU(inplace=True),
        nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True),
    )  # fmt: skip


def vstn_features(channels: int) -> nn.Sequential:
    """V-STN, Table 2: (N, C, h, w) -> (N, 10, h', w'), 3,032 parameters of 3 channels; large kernels as runs of 3x3."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3), nn.ReLU(inplace=True),
        nn.Conv2d(10, 10, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
    )  # fmt: skip


def lstn_features(channels: int) -> nn.Sequential:
    """L-STN, Table 3: (N, C, h, w) -> (N, 10, h', w'), 3,690 parameters of 3 channels; conv -> BatchNorm -> ReLU.

    The paper prints 16 BatchNorm parameters in rows 4 and 7; 8 is meant, for only then do the rows add up to its total.
    """
    layers: list[nn.Module] = []
    for width, kernel, stride, padding in _LSTN_CONVS:
        # The bias is redundant in front of BatchNorm and folds away with it; Table 3 counts it.
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)


def shared_features(channels: int) -> nn.Sequential:
    """Shared: the backbone's first layers (N, C, h, w) -> (N, 10, h', w'), an STN's second half behind them.

    The first half is the backbone's own (Finnveden, Jansson, Lindeberg 2020, STN-SL): they look at the image, theta
    warps the image, and then they see the warped one. What the second half is, the paper leaves to each network.
    """
    return nn.Sequential(nn.Conv2d(channels, 10, 5), nn.MaxPool2d(2), nn.ReLU(inplace=True))


_LSTN_CONVS = (  # output channels, kernel, stride, padding
    (4, 3, 2, 1), (8, 1, 1, 0), (8, 3, 1, 0), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 1, 0), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 2, 1), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 1, 1), (4, 1, 1, 0),
    (8, 1, 1, 0), (8, 3, 1, 0), (4, 1, 1, 0),
    (10, 1, 1, 0),
)  # fmt: skip

LOCALIZERS: dict[Loc, Callable[[int], nn.Sequential]] = {
    Loc.STN: stn_features,
    Loc.VSTN: vstn_features,
    Loc.LSTN: lstn_features,
    Loc.SHARED: shared_features,
    Loc.DEAD: lstn_features,
}
"""Every localizer's features, by the channels of what it looks at; total over `Loc` but for NONE and IDENTITY."""


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
