"""The localizer of a generator: a background and a code -> the box into which the object is painted."""

import math

import torch
from torch import nn

from lstn.contract import Loc, ThetaForm
from lstn.nn.warping.localizers import HIDDEN, channels_of, view_features

_SHARE, _MOST_ZOOM = 0.5, 2.2
"""The side of a box in the middle of its range, as a share of the picture's shorter side; and how many times as large
or small it can be."""

_MOST_TURN = math.pi / 2
"""What is turned further is upside down, and another picture of its class."""

_FIRST_SPREAD = 0.2
"""Of the numbers to begin with: places and angles differ from picture to picture, or no gradient would say how."""


class ObjectLocalizer(nn.Module):
    """Where an object goes: pictures (N, 3, H, W) float32 and codes (N, D) float32 -> boxes (N, 5) float32, in pixels
    (`lstn.nn.turned_boxes`).

    As in ST-GAN (Lin et al. 2018) it looks at the background and chooses a warp of the object; as in LR-GAN (Yang et
    al. 2017) the noise decides with it. The centre stays within the picture, the side within 1/2.2 .. 2.2 of half of
    the picture's, and the turn within a quarter, so no object can vanish.

    image_hw: of the picture, in pixels
    object_hw: of what is painted upright; the box has its proportions
    """

    def __init__(
        self,
        loc: Loc,
        image_hw: tuple[int, int],
        *,
        view_hw: tuple[int, int] | None,
        object_hw: tuple[int, int],
        code: int,
        theta: ThetaForm,
    ) -> None:
        super().__init__()
        self.features = view_features(loc, image_hw, view_hw, 3)
        last = nn.Linear(HIDDEN, 3 if theta is ThetaForm.CROP else 4)
        nn.init.normal_(last.weight, std=_FIRST_SPREAD / math.sqrt(HIDDEN / 2))
        nn.init.zeros_(last.bias)
        seen = channels_of(self.features) + code
        self.head = nn.Sequential(nn.Linear(seen, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(inplace=True), last)
        self._image_hw, self._object_hw = image_hw, object_hw

    def forward(self, pictures: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W), (N, D) -> (N, 5)."""
        seen = self.features(pictures).mean((2, 3))
        bounded = torch.tanh(self.head(torch.cat([seen, code], dim=1)))
        (height, width), (high, wide) = self._image_hw, self._object_hw
        x, y = (bounded[:, :1] + 1) * (width / 2), (bounded[:, 1:2] + 1) * (height / 2)
        side = _SHARE * min(height, width) * torch.exp(math.log(_MOST_ZOOM) * bounded[:, 2:3])
        longest = max(high, wide)
        angle = _MOST_TURN * bounded[:, 3:] if bounded.shape[1] > 3 else 0 * x
        return torch.cat([x, y, side * (wide / longest), side * (high / longest), angle], dim=1)
