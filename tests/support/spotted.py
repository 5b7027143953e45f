"""A small network that tells a bright spot on the left from one on the right, trained in a second."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lstn.contract import Loc
from lstn.nn.classifier import Classifier

SIDE = 32


def spots(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (N, 32, 32, 3) float32 from 0 to 255, and labels (N,): 0 for left, 1 for right."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.float32)
    labels = rng.integers(0, 2, count)
    for image, label in zip(pixels, labels, strict=True):
        row, column = rng.integers(6, 26), (8, 24)[label]
        image[row - 4 : row + 4, column - 4 : column + 4] = 255
    return torch.from_numpy(pixels), torch.from_numpy(labels)


@cache
def trained_model(loc: Loc = Loc.GLANCE) -> Classifier:
    """Train it, the transformer too; right in all of its pictures. In evaluation mode, its weights frozen."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 2)
    )
    model = Classifier.around(backbone, labels=("left", "right"), image_hw=(SIDE, SIDE), loc=loc).train()
    pixels, labels = spots(256, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for step in range(60):
        part = slice(32 * (step % 8), 32 * (step % 8) + 32)
        answer = model(pixels[part])
        loss = F.cross_entropy(answer if isinstance(answer, torch.Tensor) else answer[0], labels[part])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval().requires_grad_(False)
