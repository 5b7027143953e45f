"""Freezing of a backbone that starts from weights: in the first epochs only what is new is fitted (`--freeze`)."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lstn.errors import UsageError
from lstn.nn.sources.starts import classifiers_of


def check_freeze(backbone: nn.Module, epochs: int) -> None:
    """Check that a backbone that is to be frozen ends in layers that lstn knows, which have to be fitted.

    Raises:
        UsageError: it doesn't.
    """
    if epochs and not classifiers_of(backbone):
        raise UsageError(
            f"lstn doesn't know the last layer of a {type(backbone).__name__}, which has to be fitted",
            hint="leave out --freeze, or choose another --model",
        )


@contextmanager
def frozen(backbone: nn.Module) -> Iterator[None]:
    """Keep the weights of all layers but the last, and what their normalisation has counted.

    They are in evaluation mode: BatchNorm normalises by its own statistics, and nothing is dropped.
    """
    modes = {module: module.training for module in backbone.modules()}
    fitted = [weight for weight in backbone.parameters() if weight.requires_grad]
    last = [backbone.get_submodule(name) for name in classifiers_of(backbone)]
    backbone.eval().requires_grad_(False)
    new = {id(weight) for layer in last for weight in layer.train().parameters()}
    for weight in fitted:
        weight.requires_grad_(id(weight) in new)
    try:
        yield
    finally:
        for weight in fitted:
            weight.requires_grad_(True)
        for module, training in modes.items():
            module.training = training
