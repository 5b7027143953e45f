"""Painters: code -> picture, by transposed convolutions that double its side (Radford et al. 2016, DCGAN)."""

import math

import torch
from torch import nn

from lstn.contract import Contract, Loc

DOUBLINGS = 3
"""Of the side, from the first map to the picture."""

OF_CLASS = 32
"""Numbers by which a class is said to the painters."""

_WIDEST, _BACKGROUND_WIDEST = 128, 32
"""Channels of the painters' first maps. A background is simpler than an object; of a whole picture, --loc none, it is
twice the object's."""

_FIRST_MASK = -1.0
"""What the mask's sigmoid begins with: an object is a quarter opaque.

Without this, a background that begins gray, and a sixth of the mask's weight, masks were at 0.95 after 400 steps on
digits: the object was a black frame around one bar, the same for all classes. With the three they were at 0.17, and
classes differed. The two runs had other learning rates and sizes as well.
"""

_LEAST_SHARE = 0.02
_MOST_EXPONENT = 80.0
"""Of a float32 number that is not infinite."""


class Painter(nn.Module):
    """A code (N, D) float32 -> a picture (N, channels, height, width) float32, without bounds.

    One linear layer makes the first map, an eighth of the picture; each transposed convolution, 4 x 4 with stride 2,
    doubles its side and halves its channels, with BatchNorm and ReLU; the last one answers. What is larger than the
    picture, where a side is not a multiple of 8, is cut off evenly.

    widest: channels of the first map
    """

    def __init__(self, code: int, channels: int, height: int, width: int, *, widest: int) -> None:
        super().__init__()
        self._hw = height, width
        scale = 2**DOUBLINGS
        self._first = widest, -(-height // scale), -(-width // scale)
        self.first = nn.Linear(code, self._first[0] * self._first[1] * self._first[2])
        layers: list[nn.Module] = [nn.BatchNorm2d(widest), nn.ReLU(inplace=True)]
        for step in range(DOUBLINGS - 1):
            before, after = widest >> step, widest >> (step + 1)
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.answer = nn.ConvTranspose2d(widest >> (DOUBLINGS - 1), channels, 4, stride=2, padding=1)

    @torch.no_grad()
    def begin_with(self, values: list[float]) -> None:
        """Make the channels begin around these values."""
        assert self.answer.bias is not None  # it is made with one
        self.answer.bias.copy_(torch.tensor(values))

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        """(N, D) float32 -> (N, channels, height, width) float32."""
        painted: torch.Tensor = self.answer(self.layers(self.first(code).reshape(-1, *self._first)))
        height, width = self._hw
        top, left = (painted.shape[2] - height) // 2, (painted.shape[3] - width) // 2
        return painted[:, :, top : top + height, left : left + width]


def logistic(values: torch.Tensor) -> torch.Tensor:
    """Return 1 / (1 + exp(-x)), as exact near 0 as near 1.

    ONNX Runtime's Sigmoid is off by up to 1e-7 whatever its value. In a nearly black background, whose differences of
    1e-5 the BatchNorms of a localizer make large, that moved theta by 0.004 px and pixels by 0.0045. Exp has no such
    error.
    """
    powers = torch.exp(values.clamp(max=_MOST_EXPONENT))
    return powers / (1 + powers)


def _logit(share: float) -> float:
    """Return what a sigmoid makes a share of, 0..1, but for the ends of its range."""
    inside = min(max(share, _LEAST_SHARE), 1 - _LEAST_SHARE)
    return math.log(inside / (1 - inside))


class ObjectPainters(nn.Module):
    """The painters of a generator: of an object with its mask, upright, and of a background.

    Of loc `none` there is one painter, of the picture. The background does not know the class, so only the object can
    show it: that keeps the two apart.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        code, whole = contract.noise + OF_CLASS, contract.loc is Loc.NONE
        self.classes = nn.Embedding(len(contract.labels), OF_CLASS)
        hw, widest = (contract.image_hw, 2 * _WIDEST) if whole else (contract.backbone_hw, _WIDEST)
        self.object = Painter(code, 3 if whole else 4, *hw, widest=widest)
        self.background = None
        if not whole:
            self.background = Painter(contract.noise, 3, *contract.image_hw, widest=_BACKGROUND_WIDEST)
            # A painter that begins with what is usual needs no object in front of all of it.
            self.background.begin_with([_logit(each) for each in contract.mean])
            self.object.begin_with([0.0, 0.0, 0.0, _FIRST_MASK])

    def forward(
        self, noise: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(N, Z), (N,) -> the object's colours and mask (N, 4, h, w) in 0..1, the background (N, 3, H, W), and the code
        that says noise and class (N, Z + 32); of loc `none` the picture (N, 3, H, W), None, and the code."""
        code = torch.cat([noise, self.classes(labels)], dim=1)
        painted = logistic(self.object(code))
        return painted, None if self.background is None else logistic(self.background(noise)), code
