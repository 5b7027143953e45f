"""timm's classifiers by `timm:NAME`, with the sizes, the normalisation and the weights that timm has for them.

The extra `timm` installs it. Only names of timm's own list are made: timm itself would also read a folder or a
repository that a name such as `hf-hub:…` points to.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from lstn.errors import LstnError, UsageError
from lstn.imports import require
from lstn.nn.sources.backbone import Backbone

TIMM = "timm:"
"""How a name of timm's begins."""


def timm_names() -> tuple[str, ...]:
    """Return the names of all models of the timm that is installed, each with its prefix; nothing without timm."""
    if find_spec("timm") is None:
        return ()
    return tuple(TIMM + name for name in _timm().list_models())


def timm_backbone(name: str) -> Backbone | None:
    """Return the backbone of a name with its prefix, such as `timm:mobilenetv4_conv_small`; None: timm has none such.

    A name may end with one of timm's tags, which choose among the weights of a network: `timm:resnet18.a1_in1k`.

    Raises:
        MissingExtra: timm is not installed.
    """
    timm, plain = _timm(), name.removeprefix(TIMM)
    architecture, _, tag = plain.partition(".")
    config = timm.get_pretrained_cfg(plain, allow_unregistered=False) if _is_listed(architecture, tag) else None
    if config is None:
        return None
    side = int(config.input_size[1])
    return Backbone(
        factory=lambda classes: _made(plain, classes),
        image_size=side,
        smallest=1 if config.min_input_size is None else max(config.min_input_size[1:]),
        mean=tuple(config.mean),
        std=tuple(config.std),
        sized=_sized(name, plain, side) if config.fixed_input_size else None,
    )


def timm_weights(name: str, image_hw: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Load what timm publishes for a name, by timm's own loader, which fits what depends on the size of images.

    Raises:
        UsageError: timm has no weights for it.
        LstnError: they can't be downloaded, and aren't in the cache of a download before.
    """
    timm, plain = _timm(), name.removeprefix(TIMM)
    config = timm.get_pretrained_cfg(plain)
    if not config.has_weights:
        raise UsageError(f"timm has no weights for {name}", hint="train it from scratch, or give a file of weights")
    size = {"img_size": image_hw} if config.fixed_input_size and set(image_hw) != {config.input_size[1]} else {}
    try:
        model: nn.Module = timm.create_model(plain, pretrained=True, **size)
    except Exception as error:  # of huggingface_hub, its client, torch.hub: each has types of its own
        first = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise LstnError(
            f"timm can't load the weights of {name}: {first:.200}",
            hint=f"where there is network, timm.create_model({plain!r}, pretrained=True) leaves them in Hugging Face's "
            "cache (HF_HOME): copy it; or give a file: --weights FILE",
        ) from error
    return model.state_dict()


def is_of_timm(module: nn.Module) -> bool:
    """Whether timm made a module, or what it stands on."""
    return any(base.__module__.partition(".")[0] == "timm" for base in type(module).__mro__)


def reparametrized(model: nn.Module) -> nn.Module:
    """Return a copy of a model for inference, in which branches that add up to one convolution are that convolution.

    RepVGG, MobileOne, FastViT and their like train several branches (Ding et al. 2021, section 3.2). The model itself
    is returned if nothing in it can be fused.
    """
    ways = ("fuse", "reparameterize", "switch_to_deploy")
    if not any(is_of_timm(each) and any(hasattr(each, way) for way in ways) for each in model.modules()):
        return model
    fused: nn.Module = require("timm.utils", extra="timm").reparameterize_model(model)
    return fused.eval()


def _timm() -> Any:
    return require("timm", extra="timm")


def _is_listed(architecture: str, tag: str) -> bool:
    timm = _timm()
    return timm.is_model(architecture) and (not tag or f"{architecture}.{tag}" in timm.list_pretrained(architecture))


def _made(plain: str, classes: int, **size: object) -> nn.Module:
    # exportable: without activations whose gradients are timm's own code, which no exporter knows
    made: nn.Module = _timm().create_model(plain, num_classes=classes, exportable=True, **size)
    return made


def _sized(name: str, plain: str, side: int) -> Callable[[int, tuple[int, int]], nn.Module]:
    def make(classes: int, image_hw: tuple[int, int]) -> nn.Module:
        if image_hw == (side, side):
            return _made(plain, classes)
        try:
            return _made(plain, classes, img_size=image_hw)
        except TypeError as error:  # it has no such argument
            raise UsageError(
                f"{name} takes images of {side} x {side} pixels alone", hint=f"use --image-size {side}"
            ) from error

    return make
