"""Layers of a backbone that make feature maps: the last one, and one by its name."""

from collections.abc import Callable
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from lstn.errors import UsageError
from lstn.nn.classifier import Classifier
from lstn.nn.sources.stems import channels_first

_NO_MAPS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Dropout, nn.Identity, nn.Softmax)
"""Layers whose maps are means of others', or what others made, such as the weights of attention."""


def map_layers(model: Classifier) -> dict[str, tuple[int, int, int]]:
    """Return the layers of the backbone that make feature maps, in the order in which they are done: name -> C, h, w.

    A layer that several places share counts as it is the first time.
    """
    shapes = {name: made.shape for name, made in _made(model).items() if made.ndim == 4}
    return {name: (shape[1], shape[2], shape[3]) for name, shape in shapes.items()}


def last_map_layer(model: Classifier) -> tuple[str, nn.Module]:
    """Return the last layer whose maps have more than one place and aren't means of others'.

    Raises:
        UsageError: there is none, or most of the network comes after it, such as after the patches of a vision
            transformer.
    """
    made, maps = _made(model), map_layers(model)
    weighted = [name for name in made if _weighs(model.backbone.get_submodule(name))]
    for name in reversed(maps):
        layer, (_, height, width) = model.backbone.get_submodule(name), maps[name]
        first = channels_first(maps[name], model.contract.backbone_hw)
        if height * width > 1 and first and not isinstance(layer, _NO_MAPS):
            order = list(made)
            behind = sum(order.index(each) > order.index(name) for each in weighted)
            if 2 * behind > len(weighted):
                break
            return name, layer
    raise UsageError(
        f"{model.contract.backbone} has no feature maps of more than one place near its end",
        hint="use --method occlusion",
    )


def _made(model: Classifier) -> dict[str, Tensor]:
    """Return what each layer of the backbone makes of a blank image, in the order in which they are done."""
    found: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hear(_layer: nn.Module, _given: object, made: object) -> None:
            if isinstance(made, Tensor):
                found.setdefault(name, made)

        return hear

    layers = [(name, layer) for name, layer in model.backbone.named_modules() if name]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers]
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            pixels = torch.zeros(1, *model.contract.image_hw, 3, dtype=torch.uint8, device=device)
            model.classify(model.transform(pixels)[0])
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _weighs(layer: nn.Module) -> bool:
    """Whether a layer itself multiplies by a matrix of weights."""
    return any(weight.ndim > 1 for weight in layer.parameters(recurse=False))


def map_layer(model: Classifier, name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """Return the layer of this name, and the C, h and w of its maps.

    Raises:
        UsageError: the backbone has no such layer, or the layer makes no feature maps; the error names some that do.
    """
    layers = map_layers(model)
    if name in layers:
        return model.backbone.get_submodule(name), layers[name]
    backbone = model.contract.backbone
    own = {own for own, _ in model.backbone.named_modules() if own}
    found = "makes no feature maps" if name in own else "is not a layer of it"
    near = get_close_matches(name, layers, n=3) or _whole(layers)
    raise UsageError(f"--features {name:.80}: {found} ({backbone})", hint=f"use one of: {', '.join(near)}")


def _whole(layers: dict[str, tuple[int, int, int]]) -> list[str]:
    """Return names for an error, those of the largest parts first."""
    return sorted(layers, key=lambda name: (name.count("."), list(layers).index(name)))[:12]
