"""Starting weights of a backbone, and how much of its dropout a training uses."""

import torch
from torch import nn
from torchvision.ops import StochasticDepth

_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def classifier_of(backbone: nn.Module) -> str:
    """Return the name of a backbone's last linear layer, which is its classifier."""
    names: list[str] = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    return names[-1]


def last_layer(backbone: nn.Module) -> nn.Linear:
    """Return a backbone's classifier."""
    last = backbone.get_submodule(classifier_of(backbone))
    assert isinstance(last, nn.Linear)
    return last


def replace_last(backbone: nn.Module, layer: nn.Module) -> None:
    """Put a layer into the place of a backbone's classifier."""
    parent, _, name = classifier_of(backbone).rpartition(".")
    setattr(backbone.get_submodule(parent), name, layer)


@torch.no_grad()
def start_weights(backbone: nn.Module, seed: int) -> None:
    """Give a new backbone the weights that it learns from within a few thousand steps.

    The classifier starts at zero, so every class is equally likely and the first loss is ln K. torchvision draws
    EfficientNet's for 1,000 classes: of ten the first loss is 4.1 instead of 2.3, and training stays at chance.

    Without normalisation the signal must keep its size from layer to layer, or deep networks stay at chance for
    thousands of steps: those layers are drawn anew (He et al. 2015, equation 10). The draw depends on `seed` alone.
    """
    classifier = last_layer(backbone)
    if not any(isinstance(module, _NORMS) for module in backbone.modules()):
        generator = torch.Generator(next(backbone.parameters()).device).manual_seed(seed)
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    for weight in classifier.parameters():
        nn.init.zeros_(weight)


def scale_dropout(backbone: nn.Module, share: float) -> None:
    """Drop `share` (0..1) as often as the network was published to: dropout, and stochastic depth."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p *= share
