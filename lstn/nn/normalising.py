"""The beginning of every model: pixels -> normalised images, by its contract."""

import torch
from torch import nn

from lstn.contract import Contract
from lstn.formats.training_record import Training


class Normalising(nn.Module):
    """A model that a contract describes; mean and std have one home, the contract, and are no weights.

    record: what it was trained on, which its files tell; None where nobody knows
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        self.record: Training | None = None
        # Not persistent: a checkpoint carries the contract.
        mean, std = torch.tensor(contract.mean).reshape(3, 1, 1), torch.tensor(contract.std).reshape(3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, (pixels / 255 - mean) / std per channel."""
        return self.floats(pixels) * self.scale + self.shift

    def floats(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, 3, H, W) float32, 0 to 255: what is normalised by `scale` and `shift`."""
        # Cast first: TensorRT refuses to transpose uint8.
        return pixels.to(torch.float32).permute(0, 3, 1, 2)
