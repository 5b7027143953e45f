"""Localizers: images, or feature maps -> theta, which says where to look."""

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import nn

from lstn.contract import Loc, ThetaForm
from lstn.errors import UsageError
from lstn.nn.warping.forms import FORMS, starts

HIDDEN = 32
"""Width of the head's hidden layer, the same in all localizers."""

_GLANCE_SIDE, _SMALLEST_VIEW = 64, 8
"""Pixels: the longest side of a view that nobody chose, and the shortest of any that is proposed."""


class Localizer(nn.Module):
    """What it looks at, (N, C, h, w) float32 -> theta (N, …) float32, of its form's shape.

    `features` is one of the stacks below, perhaps behind the average that makes the view; `head` is flatten ->
    Linear 32 -> ReLU -> Linear 6, or as many numbers as theta's form takes, for each of several warps. The head's size
    depends on the size of what it looks at, so a localizer is made for one. With several warps theta is (N, K, …).
    """

    def __init__(
        self, features: nn.Sequential, seen_hw: tuple[int, int], theta: ThetaForm = ThetaForm.AFFINE, warps: int = 1
    ) -> None:
        super().__init__()
        height, width = (_side_left(features, side, axis) for axis, side in enumerate(seen_hw))
        start = torch.tensor(starts(theta, warps))
        last = nn.Linear(HIDDEN, start.numel())
        # Starting from one warp whatever the image: a random one would hide the object from an untrained backbone.
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(start.flatten())
        self.features = features
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(channels_of(features) * height * width, HIDDEN), nn.ReLU(inplace=True), last
        )
        self._warps, self._numbers = start.shape
        self._theta = FORMS[theta].theta

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) float32 -> (N, …) float32, in the frame where the view spans -1..1 on both axes."""
        numbers: torch.Tensor = self.head(self.features(view))
        if self._warps == 1:
            return self._theta(numbers)
        theta = self._theta(numbers.reshape(-1, self._numbers))
        return theta.reshape(-1, self._warps, *theta.shape[1:])

    def view(self, images: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Return the view, normalised, of images that aren't: (N, C, H, W) float32 -> (N, C, h, w) float32.

        The localizer takes it in the place of the images. Only for one with a view.
        """
        seen: torch.Tensor = self.features[0](images, scale, shift)
        return seen


class BlockMean(nn.Module):
    """Images at the size at which a localizer sees them, (N, C, H, W) -> (N, C, h, w): the mean of blocks of pixels.

    First over the rows of a block, then over its columns: memory is read in order, which takes ONNX Runtime and
    OpenVINO 0.4 of the time of average pooling from 448 pixels to 64. One pixel of each block alone would take an
    eighth, and cost a point: from 128 pixels to 32, 20.4 % right instead of 21.6 on digits in clutter, after the same
    two epochs (means of two seeds).

    factors: how many pixels become one along each axis
    """

    def __init__(self, view_hw: tuple[int, int], factors: tuple[int, int]) -> None:
        super().__init__()
        self.view_hw, self.factors = view_hw, factors

    def forward(
        self, images: torch.Tensor, scale: torch.Tensor | None = None, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(N, C, H, W) float32 -> (N, C, h, w) float32, normalised by scale and shift where they are given.

        What is a view already comes back as it is.
        """
        (height, width), (down, across) = self.view_hw, self.factors
        if tuple(images.shape[2:]) == self.view_hw:
            return images
        channels = images.shape[1]
        rows = images.reshape(-1, channels, height, down, width * across).mean(3)
        mean = rows.reshape(-1, channels, height, width, across).mean(4)
        return mean if scale is None or shift is None else mean * scale + shift


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
    seen_hw: tuple[int, int],
    theta: ThetaForm = ThetaForm.AFFINE,
    *,
    view_hw: tuple[int, int] | None = None,
    channels: int = 3,
    what: str = "images",
    warps: int = 1,
) -> nn.Module:
    """Make the localizer `loc`, any but NONE.

    seen_hw, channels: of what it is given, the image or a feature map, in pixels; `what` calls that in an error
    theta:             what theta can be
    view_hw:           the size to which it averages what it is given; None: it looks at that itself
    warps:             how many thetas it answers

    Raises:
        UsageError: a side is so small that the features would leave nothing of it, or no multiple of the view's.
    """
    if loc is Loc.IDENTITY:
        return IdentityLocalizer()
    return Localizer(view_features(loc, seen_hw, view_hw, channels, what), seen_hw, theta, warps)


def view_features(
    loc: Loc, seen_hw: tuple[int, int], view_hw: tuple[int, int] | None, channels: int, what: str = "images"
) -> nn.Sequential:
    """Make a localizer's features, behind the average that makes the view; the rest as for `build_localizer`."""
    features = LOCALIZERS[loc](channels)
    smallest = next(side for side in count(1) if feature_side(features, side) > 0)
    height, width = seen_hw if view_hw is None else view_hw
    if min(height, width) < smallest:
        raise UsageError(
            f"{what if view_hw is None else 'views'} of {height} x {width} pixels are too small for localizer "
            f"{loc.value}, which needs {smallest} x {smallest}",
            hint="use a larger image size, or --loc none" if view_hw is None else "use a larger --view",
        )
    if view_hw is not None and view_hw != seen_hw:
        features = nn.Sequential(BlockMean(view_hw, _factors(seen_hw, view_hw)), *features)
    return features


def usual_view(loc: Loc, image_hw: tuple[int, int]) -> tuple[int, int] | None:
    """Return the view of a localizer where nobody says one: at most 64 pixels for `glance`, else None."""
    if loc is not Loc.GLANCE:
        return None
    return next((view for view in _views(image_hw) if max(view) <= _GLANCE_SIDE), None)


def _views(image_hw: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the sizes that an image can be averaged to, evenly in both directions, from half of it down."""
    height, width = image_hw
    for factor in range(2, min(height, width) // _SMALLEST_VIEW + 1):
        if height % factor == width % factor == 0:
            yield height // factor, width // factor


def _factors(seen_hw: tuple[int, int], view_hw: tuple[int, int]) -> tuple[int, int]:
    """Return how many pixels become one along each axis."""
    if any(seen % view for seen, view in zip(seen_hw, view_hw, strict=True)):
        possible = " or ".join(
            str(view[0]) if len(set(view)) == 1 else "{} x {}".format(*view) for view in _views(seen_hw)
        )
        raise UsageError(
            "a view of {} x {} pixels can't be averaged from {} x {}".format(*view_hw, *seen_hw),
            hint=f"choose a --view of {possible}" if possible else "choose an image size that is a multiple of it",
        )
    return seen_hw[0] // view_hw[0], seen_hw[1] // view_hw[1]


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


def glance_features(channels: int) -> nn.Sequential:
    """Glance: a small view (N, C, h, w) -> (N, 64, h / 4, w / 4), 3,664 parameters of 3 channels.

    A convolution, then two that are depthwise and pointwise (Howard et al. 2017, MobileNet), with stride where there
    are few channels: its time is that of reading the view. It keeps four times the paper's places of what it found,
    which is what following a rotation takes (docs/explanation/follow.md).
    """
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        *separable(16, 32, 2),
        *separable(32, 64, 1),
    )  # fmt: skip


def separable(channels: int, width: int, stride: int) -> list[nn.Module]:
    """A depthwise convolution and a pointwise one, which take a ninth of a full one's products (Howard et al. 2017)."""
    return [
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels),
        nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
    ]  # fmt: skip


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
    Loc.GLANCE: glance_features,
    Loc.SHARED: shared_features,
    Loc.DEAD: lstn_features,
}
"""Every localizer's features, by the channels of what it looks at. Total over `Loc`, but NONE and IDENTITY."""


def feature_side(features: nn.Sequential, side: int) -> int:
    """Return how many of an image's `side` pixels the features leave, 0 for none."""
    return _side_left(features, side, axis=0)


def _side_left(features: nn.Sequential, side: int, axis: int) -> int:
    for layer in features:
        if isinstance(layer, BlockMean):
            side //= layer.factors[axis]
        elif isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            settings = (layer.kernel_size, layer.stride, layer.padding)
            kernel, stride, padding = (_along(value, axis) for value in settings)
            if side + 2 * padding < kernel:
                return 0
            side = (side + 2 * padding - kernel) // stride + 1
    return side


def channels_of(features: nn.Sequential) -> int:
    """Return the channels of what the features find."""
    return [layer.out_channels for layer in features if isinstance(layer, nn.Conv2d)][-1]


def _along(value: int | tuple[int, ...] | str, axis: int) -> int:
    """One number of a layer's setting: of an axis, 0 or 1, where they differ."""
    return int(value[axis] if isinstance(value, tuple) else value)
