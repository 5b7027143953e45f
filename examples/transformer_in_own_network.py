"""Put a spatial transformer in front of a network of your own, and train the two in plain PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F
from own_images import LABELS, SIDE, draw_sign
from torch import nn

import lstn

STEPS, BATCH = 40, 32


class Signs(nn.Module):
    """(N, 3, 32, 32) float32 -> logits (N, 3): the network sees what the transformer chose."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = lstn.nn.SpatialTransformer("lstn", image_hw=(SIDE, SIDE), theta="similarity")
        self.network = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 5, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 5 * 5, len(LABELS)),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, 32, 32) float32 -> logits (N, 3)."""
        return self.network(self.transformer(images))


def main() -> None:
    """Train for a few steps, and say where the transformer looks."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = Signs()
    # A localizer wants a smaller learning rate than the network behind it.
    groups = [{"params": model.network.parameters()}, {"params": model.transformer.parameters(), "lr": 0.0005}]
    optimizer = torch.optim.Adam(groups, lr=0.002)
    for step in range(STEPS):
        labels = random.integers(0, len(LABELS), BATCH)
        drawn = [np.asarray(draw_sign(int(label), random).resize((SIDE, SIDE))) for label in labels]
        images = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) / 255
        loss = F.cross_entropy(model(images), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            print(f"step {step + 1}: loss {loss.item():.2f}")
    with torch.no_grad():
        warped, theta = model.eval().transformer.transform(images)
    print(f"warped {tuple(warped.shape)}; of the first image theta is")
    print(theta[0].numpy().round(2))


if __name__ == "__main__":
    main()
