"""Several crops of an image, one backbone: it sees each alone, and its last layer what it found in all of them."""

import torch
from torch import nn

from lstn.nn.sources.starts import last_layer, replace_last


class JoinedLinear(nn.Linear):
    """A backbone's last layer, over the features of all crops of an image (Jaderberg et al. 2015, section 4.3).

    crops:    K, of each image
    features: F, that the backbone finds in one
    """

    def __init__(self, crops: int, features: int, classes: int, *, bias: bool) -> None:
        super().__init__(crops * features, classes, bias=bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N * K, F), the crops of an image one after another -> (N, classes)."""
        return super().forward(features.reshape(-1, self.in_features))


def join_crops(backbone: nn.Module, crops: int) -> nn.Module:
    """Return the backbone, (N, 3, h, w) -> (N, classes), with its last layer over `crops` crops of each image.

    It is (N * K, 3, h, w) -> (N, classes) then. The layer is new; all others are as they were.
    """
    last = last_layer(backbone)
    has_bias = last.bias is not None
    replace_last(backbone, JoinedLinear(crops, last.in_features, last.out_features, bias=has_bias))
    return backbone
