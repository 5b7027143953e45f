"""Starting weights of a backbone, and how much of its dropout a training uses."""

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from lstn.errors import UsageError
from lstn.nn.sources.timm_models import is_of_timm

_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def classifiers_of(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of a backbone's layers that answer logits.

    timm says which they are, two of a distilled network, which averages them. Elsewhere it is the last linear layer.
    SqueezeNet has none.
    """
    linear = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if not is_of_timm(backbone):
        return tuple(linear[-1:])
    config = getattr(backbone, "default_cfg", None)
    told = config.get("classifier") if isinstance(config, dict) else None
    named = (told,) if isinstance(told, str) else tuple(told or ())
    modules = dict(backbone.named_modules())
    return tuple(name for name in named if isinstance(modules.get(name), nn.Linear | nn.Conv2d))


def last_layer(backbone: nn.Module) -> nn.Linear:
    """Return a backbone's classifier.

    Raises:
        UsageError: it isn't one linear layer.
    """
    names = classifiers_of(backbone)
    layer = backbone.get_submodule(names[0]) if len(names) == 1 else None
    if not isinstance(layer, nn.Linear):
        raise UsageError(
            f"a {type(backbone).__name__} doesn't end in one linear layer, which several crops of an image need",
            hint="choose another --model, or leave out --warps and --task detect",
        )
    return layer


def replace_last(backbone: nn.Module, layer: nn.Module) -> None:
    """Put a layer into the place of a backbone's classifier."""
    parent, _, name = classifiers_of(backbone)[0].rpartition(".")
    setattr(backbone.get_submodule(parent), name, layer)


@torch.no_grad()
def start_weights(backbone: nn.Module, seed: int) -> None:
    """Give a new backbone the weights that it learns from within a few thousand steps.

    The classifier starts at zero, so every class is equally likely and the first loss is ln K. torchvision draws
    EfficientNet's for 1,000 classes: of ten the first loss is 4.1 instead of 2.3, and training stays at chance.

    Without normalisation the signal must keep its size from layer to layer, or deep networks stay at chance for
    thousands of steps: those layers are drawn anew (He et al. 2015, equation 10). The draw depends on `seed` alone.
    timm draws such networks so itself, or scales their weights where they are used.
    """
    if not is_of_timm(backbone) and not any(isinstance(module, _NORMS) for module in backbone.modules()):
        generator = torch.Generator(next(backbone.parameters()).device).manual_seed(seed)
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    for name in classifiers_of(backbone):
        for weight in backbone.get_submodule(name).parameters():
            nn.init.zeros_(weight)


def scale_dropout(backbone: nn.Module, share: float) -> None:
    """Drop `share` (0..1) as often as the network was published to: dropout, and stochastic depth."""
    for module in backbone.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p *= share
        elif is_of_timm(module):  # whose own code drops so
            for name in ("drop_prob", "drop_rate"):
                if isinstance(rate := getattr(module, name, None), float):
                    setattr(module, name, rate * share)
