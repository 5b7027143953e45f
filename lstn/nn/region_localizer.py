"""The localizer of a detector: images, or a backbone's maps -> the regions in which objects may be."""

import torch
import torch.nn.functional as F
from torch import nn

from lstn.contract import Loc
from lstn.errors import UsageError
from lstn.nn.turned_boxes import moved_boxes
from lstn.nn.warping.localizers import channels_of, separable, view_features

SIZES = (0.1, 0.2, 0.4, 0.8)
"""Of anchors: the root of their area, as a share of the image's shorter side. Each is twice as large as the one before,
as from 128 to 512 pixels in Faster R-CNN (Ren et al. 2015, section 3.3), with one more for small objects."""

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of anchors (Ren et al. 2015, section 3.3)."""

ANCHORS = len(SIZES) * len(RATIOS)
"""Anchors aren't in a checkpoint: other sizes or ratios would change what every trained detector answers. An exported
file has its own. They are no choice of the user's, so the contract doesn't say them, and a test holds them."""

_WIDTH = 64
_MAP_WIDTH = 128
"""Channels behind what the image's localizer, and the backbone, make of it."""

_BELOW_PEAKS = 1000.0
"""Subtracted from scores that have a higher one beside them: any peak comes before any of them."""


class RegionLocalizer(nn.Module):
    """What it looks at, (N, C, h, w) float32 -> for every anchor a score and a box, and the best K of these.

    `features` are those of a localizer that classifies, or none where it looks at the backbone's maps; `head` goes on
    with convolutions, so that each place answers for what is there. A place answers for its best anchor alone, and one
    next to a better place comes after all that are not. So the K best are of different places, where Faster R-CNN
    suppresses by overlap, of which no engine has a fixed number of results.

    image_hw: of the image, in pixels
    count:    K, how many regions are kept
    numbers:  of a box (`lstn.nn.turned_boxes`)

    Raises:
        UsageError: there are fewer places than K.
    """

    anchors: torch.Tensor

    def __init__(
        self,
        loc: Loc,
        seen: tuple[int, int, int],
        image_hw: tuple[int, int],
        *,
        view_hw: tuple[int, int] | None,
        count: int,
        numbers: int,
    ) -> None:
        super().__init__()
        self.features, self.head = _layers(loc, seen, view_hw, ANCHORS * (1 + numbers))
        self._count, self._numbers = count, numbers
        with torch.no_grad():
            places = self.eval().head(self.features(torch.zeros(1, *seen))).shape[2:]
            self.train()
        if places.numel() < count:
            down, across = places
            raise UsageError(
                f"{count} regions of {down} x {across} places in the localizer's map",
                hint=f"use at most {places.numel()} --warps, a larger --view or larger images",
            )
        last = self.head[-1]
        nn.init.normal_(last.get_parameter("weight"), std=0.01)  # Ren et al. 2015, section 3.1.3
        nn.init.zeros_(last.get_parameter("bias"))
        self.register_buffer("anchors", anchors_of((places[0], places[1]), image_hw), persistent=False)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) float32 -> the K best boxes, (N, K, 5) float32, best first."""
        return self.best(*self.answers(seen))

    def answers(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, C, h, w) float32 -> scores (N, A, h', w') before a sigmoid, and numbers (N, A, n, h', w'), float32."""
        found = self.head(self.features(seen))
        height, width = found.shape[2:]
        scores, numbers = found[:, :ANCHORS], found[:, ANCHORS:]
        return scores, numbers.reshape(-1, ANCHORS, self._numbers, height, width)

    def best(self, scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Return the K best boxes of what `answers` returned, (N, K, 5) float32, best first."""
        best, which = scores.max(dim=1, keepdim=True)
        peak = best >= F.max_pool2d(best, 3, 1, 1)
        ranked = torch.where(peak, best, best - _BELOW_PEAKS).flatten(1)
        places = ranked.topk(self._count, dim=1).indices
        chosen = which.flatten(1).gather(1, places) * ranked.shape[1] + places
        flat = numbers.permute(0, 1, 3, 4, 2).reshape(-1, len(self.anchors), self._numbers)
        of_chosen = flat.gather(1, chosen[:, :, None].expand(-1, -1, self._numbers))
        anchors = self.anchors.index_select(0, chosen.flatten()).reshape(-1, self._count, 5)
        return moved_boxes(anchors, of_chosen)


def anchors_of(places: tuple[int, int], image_hw: tuple[int, int]) -> torch.Tensor:
    """Return upright boxes around every place of a map, (A * h * w, 5) float32: of one kind for all places, then the
    next."""
    height, width = image_hw
    down, across = places
    y = (torch.arange(down, dtype=torch.float32) + 0.5) * (height / down)
    x = (torch.arange(across, dtype=torch.float32) + 0.5) * (width / across)
    kinds = torch.tensor([(size / ratio**0.5, size * ratio**0.5) for size in SIZES for ratio in RATIOS])
    made = torch.zeros(len(kinds), down, across, 5)
    made[..., 0], made[..., 1] = x, y[:, None]
    made[..., 2:4] = (min(image_hw) * kinds)[:, None, None]
    return made.reshape(-1, 5)


def _layers(
    loc: Loc, seen: tuple[int, int, int], view_hw: tuple[int, int] | None, answers: int
) -> tuple[nn.Sequential, nn.Sequential]:
    channels, *hw = seen
    if loc is Loc.SHARED:
        convolution = nn.Conv2d(channels, _MAP_WIDTH, 3, padding=1)
        return nn.Sequential(), nn.Sequential(convolution, nn.ReLU(inplace=True), nn.Conv2d(_MAP_WIDTH, answers, 1))
    features = view_features(loc, (hw[0], hw[1]), view_hw, channels)
    head = [*separable(channels_of(features), _WIDTH, 1), *separable(_WIDTH, _WIDTH, 1), *separable(_WIDTH, _WIDTH, 1)]
    return features, nn.Sequential(*head, nn.Conv2d(_WIDTH, answers, 1))
