"""Networks that a program brings along: nothing in them is called as in lstn, and some of it as parts of lstn are."""

import torch
import torch.nn.functional as F
from torch import nn

import lstn

LABELS = tuple("0123456789")
SIDE = 32


class OwnNetwork(nn.Module):
    """Names of lstn's own modules, layers used twice, a sampler, attention, and `view` on what it computes."""

    def __init__(self, classes: int = len(LABELS)) -> None:
        super().__init__()
        self.transformer = nn.Conv2d(3, 8, 3, padding=1)
        self.localizer = nn.BatchNorm2d(8)
        self.sampler = nn.ModuleDict({"input": nn.Conv2d(8, 16, 3, stride=2, padding=1)})
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.tied = nn.Linear(16, 16)
        self.gain = nn.Parameter(torch.ones(16))
        self.grid = nn.Linear(16, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = F.relu(self.localizer(self.transformer(images)))
        turn = torch.tensor([[0.0, -0.5, 0], [0.5, 0, 0]]).expand(maps.shape[0], 2, 3)
        maps = F.grid_sample(maps, lstn.nn.affine_grid(turn, (12, 12)), align_corners=True)
        maps = F.gelu(self.sampler["input"](maps))
        tokens = self.norm(maps.view(maps.shape[0], 16, -1).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = self.tied(F.relu(self.tied(tokens))) * self.gain
        return self.grid(tokens.mean(1))


class SmallNetwork(nn.Module):
    """Quick to train and to export."""

    def __init__(self, classes: int = len(LABELS), side: int = SIDE) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Linear(8 * (side // 2 - 2) ** 2, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.first(images)
        return self.last(maps.view(maps.shape[0], -1))


class ConstantBatch(nn.Module):
    """Correct in PyTorch, and an ONNX file of one batch size: `len` of a tensor is a number, and no longer a size."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.reshape(len(images), -1)[:, : len(LABELS)]
