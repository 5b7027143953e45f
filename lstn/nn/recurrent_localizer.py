"""The localizer of a reader: images -> the boxes of symbols, one after another, found from what was seen before."""

from typing import NamedTuple

import torch
from torch import nn

from lstn.contract import Loc
from lstn.nn.turned_boxes import moved_boxes
from lstn.nn.warping.localizers import channels_of, view_features

_WIDTH = 64
"""Channels of what it looks at, behind the localizer's features."""

_STATE = 128
"""Numbers that it remembers from step to step."""

_FIRST_SIDE = 0.25
"""The side of a box to begin with, as a share of the image's shorter side."""


class Glimpses(NamedTuple):
    """What a reader's localizer answers, all float32.

    boxes:     (N, T, 5), in the order of reading (`lstn.nn.turned_boxes`)
    answers:   (N, T, A + 1), the logits of each step's state
    attention: (N, T, P), the logarithms of the weights of places
    places:    (P, 2), where these are: x and y on -1..1 of the image
    """

    boxes: torch.Tensor
    answers: torch.Tensor
    attention: torch.Tensor
    places: torch.Tensor


class RecurrentLocalizer(nn.Module):
    """What it looks at, (N, C, H, W) float32 -> T boxes in the order of reading, and what it remembers at each.

    Recurrent units choose one theta after another (Sønderby et al. 2015). `features` are those of a localizer that
    classifies; `head` goes on with convolutions, so that each place of the map answers for what is there. At each step
    the state asks all places (additive attention, Bahdanau et al. 2015, equation 6). The mean of what they hold, and of
    where they are, is what a gated recurrent unit (Cho et al. 2014) remembers. From both comes the box, which lies
    around that centre. The steps are unrolled, so that the exported graph has neither a loop nor a sequence.

    image_hw: of the image, in pixels
    steps:    T, the most symbols of a text
    numbers:  of a box (`lstn.nn.turned_boxes`)
    answers:  logits that each state adds to what the backbone makes of the crop: above all, whether the text has ended
    """

    places: torch.Tensor

    def __init__(
        self,
        loc: Loc,
        image_hw: tuple[int, int],
        *,
        view_hw: tuple[int, int] | None,
        steps: int,
        numbers: int,
        answers: int,
    ) -> None:
        super().__init__()
        self.features = view_features(loc, image_hw, view_hw, 3)
        self.head = nn.Sequential(*_convolution(channels_of(self.features)), *_convolution(_WIDTH))
        self.first = nn.Linear(_WIDTH, _STATE)
        self.keys = nn.Linear(_WIDTH + 2, _WIDTH)
        self.query = nn.Linear(_STATE, _WIDTH, bias=False)
        self.score = nn.Linear(_WIDTH, 1, bias=False)
        self.cell = nn.GRUCell(_WIDTH + 2, _STATE)
        self.box = nn.Linear(_STATE + _WIDTH + 2, numbers)
        self.answer = nn.Linear(_STATE, answers)
        self._steps, self._image_hw = steps, image_hw
        with torch.no_grad():
            seen = self.eval().head(self.features(torch.zeros(1, 3, *image_hw)))
            self.train()
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)
        nn.init.zeros_(self.answer.weight)
        nn.init.zeros_(self.answer.bias)
        # Not persistent: the size of the image says what they are.
        self.register_buffer("places", _places(seen.shape[2], seen.shape[3]), persistent=False)

    def forward(self, images: torch.Tensor) -> Glimpses:
        """(N, 3, H, W) float32 -> T steps."""
        found = self.head(self.features(images)).flatten(2).transpose(1, 2)
        seen = torch.cat([found, self.places + 0 * found[:, :, :2]], dim=2)
        keys = self.keys(seen)
        state = torch.tanh(self.first(found.mean(1)))
        looks, states, attention = [], [], []
        for _ in range(self._steps):
            scores = self.score(torch.tanh(keys + self.query(state)[:, None]))
            attention.append(torch.log_softmax(scores.flatten(1), dim=1))
            looked = (torch.softmax(scores, dim=1) * seen).sum(1)
            state = self.cell(looked, state)
            looks.append(looked)
            states.append(state)
        remembered, looked = torch.stack(states, dim=1), torch.stack(looks, dim=1)
        numbers = self.box(torch.cat([remembered, looked], dim=2))
        boxes = self._boxes(looked[:, :, _WIDTH:], numbers)
        return Glimpses(boxes, self.answer(remembered), torch.stack(attention, dim=1), self.places)

    def _boxes(self, centres: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Centres (N, T, 2) on -1..1, and numbers (N, T, n) -> boxes (N, T, 5) in pixels."""
        height, width = self._image_hw
        middle = (centres + 1) * centres.new_tensor([width / 2, height / 2])
        side = _FIRST_SIDE * min(height, width)
        rest = 0 * centres[:, :, :1] + centres.new_tensor([side, side, 0.0])
        return moved_boxes(torch.cat([middle, rest], dim=2), numbers)


def _convolution(channels: int) -> list[nn.Module]:
    """Return a full convolution. After the same 1,000 steps on rows of digits 26 % of texts were right with two, and
    18 % with separable ones."""
    convolution = nn.Conv2d(channels, _WIDTH, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(_WIDTH), nn.ReLU(inplace=True)]


def _places(down: int, across: int) -> torch.Tensor:
    """Return the centres of a map's places, row by row, (h * w, 2): x and y on -1..1 of the image."""
    x = (torch.arange(across, dtype=torch.float32) + 0.5) * (2 / across) - 1
    y = (torch.arange(down, dtype=torch.float32) + 0.5) * (2 / down) - 1
    return torch.stack([x.repeat(down), y.repeat_interleave(across)], dim=1)
