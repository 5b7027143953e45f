"""torchvision's classifiers by torchvision's own names, with the sizes and the normalisation of their weights."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models
from torchvision.models import WeightsEnum

from lstn.errors import UsageError
from lstn.nn.sources.backbone import Backbone

_PLAIN_RATES = {"vgg11": 0.2, "vgg13": 0.2, "vgg16": 0.2, "vgg19": 0.1, "alexnet": 0.4, "squeezenet": 0.2}
"""Of networks without BatchNorm, by how their names begin; see `lstn.nn.backbones.BACKBONES`."""

_WIDE = "vgg"
"""Networks that take larger batches of small images; see `lstn.nn.backbones.BACKBONES`."""

_SMALLEST_SWIN = 32
"""Its stages halve the maps of 4 x 4 patches three times. Weights name the size of their training."""


def torchvision_names() -> tuple[str, ...]:
    """Return the names of all classifiers of the torchvision that is installed."""
    return tuple(models.list_models(module=models))


def torchvision_backbone(name: str) -> Backbone:
    """Return one of `torchvision_names`."""
    model: Callable[..., nn.Module] = models.get_model_builder(name)
    weights = models.get_model_weights(name).DEFAULT
    family = name.partition("_")[0]
    if family == "inception":
        return published(without_aux(model), weights)
    if family == "regnet":
        return published(_Reckoning.of(model), weights)
    if family == "swin":
        return published(model, weights, smallest=_SMALLEST_SWIN)
    if family == "vit":
        return published(model, weights, smallest=1, sized=lambda hw: {"image_size": _square(name, hw)})
    if family == "maxvit":
        return published(model, weights, smallest=1, sized=lambda hw: {"input_size": hw})
    plain = "" if name.endswith("_bn") else name
    rate = next((r for n, r in _PLAIN_RATES.items() if plain.startswith(n)), 1.0)
    return published(model, weights, rate=rate, wide=family.startswith(_WIDE))


def published(
    model: Callable[..., nn.Module],
    weights: WeightsEnum,
    *,
    rate: float = 1.0,
    wide: bool = False,
    smallest: int | None = None,
    sized: Callable[[tuple[int, int]], dict[str, object]] | None = None,
) -> Backbone:
    """Make the entry of a network of torchvision's: sizes and normalisation are those of its best weights.

    sized: height and width of images -> the argument that tells them to `model`; None: it takes any
    """
    how = weights.transforms()
    return Backbone(
        factory=lambda classes: model(num_classes=classes),
        image_size=how.crop_size[0],
        smallest=max(weights.meta["min_size"]) if smallest is None else smallest,
        weights=weights,
        rate=rate,
        wide=wide,
        mean=tuple(how.mean),
        std=tuple(how.std),
        sized=None if sized is None else lambda classes, hw: model(num_classes=classes, **sized(hw)),
    )


def without_aux(model: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return GoogLeNet or Inception without auxiliary classifiers, which nothing trains.

    Their ImageNet weights expect inputs on another scale, which `transform_input` makes of the usual one. It is on
    whatever the weights, because a checkpoint stores tensors and not this flag.
    """
    made: Callable[..., Any] = partial(model, aux_logits=False, init_weights=False, transform_input=True)
    return made


class _Reckoning(TorchFunctionMode):
    """RegNet reckons its widths with tensors. On torch's meta device they would have no numbers: they stay off it."""

    @staticmethod
    def of(model: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        """Return what makes the model, on any device."""

        def make(**options: object) -> nn.Module:
            with _Reckoning():
                return model(**options)

        return make

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`, on the CPU if it makes a row of numbers."""
        row = func is torch.arange or (func is torch.tensor and isinstance(args[0], list))
        return func(*args, **(kwargs or {}), **({"device": "cpu"} if row else {}))


def _square(name: str, hw: tuple[int, int]) -> int:
    if hw[0] != hw[1]:
        raise UsageError(f"{name} takes square images, and not {hw[0]} x {hw[1]} pixels", hint="use another model")
    return hw[0]
