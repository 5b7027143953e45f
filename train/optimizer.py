"""The optimizer of a run, and what a recipe says about each of its steps."""

import math
from typing import Any

import torch
from torch import nn

from lstn.nn.aligner import Aligner
from lstn.nn.generation.generator import Generator
from lstn.nn.models import Model
from lstn.recipe import Recipe

MOMENTUM = 0.9
"""Of SGD, as He et al. (2016) and torchvision's references have it, and of Adam."""

_SQUARES = 0.999
"""How slowly Adam forgets squared gradients (Kingma & Ba 2015)."""

_ADVERSARIAL_BETAS = (0.5, 0.99)
"""Adam's two for a generator and its discriminator: each step changes what the other has to do, so it forgets sooner
(Radford et al. 2016)."""

_DISCRIMINATOR_RATE = 2.0
"""The discriminator's learning rate, as a share of the generator's: what it says must be worth following (Heusel et al.
2017)."""


def dropout_share(recipe: Recipe, images: int) -> float:
    """Return how much of the published dropout a training on `images` images, over all epochs, uses, 0..1."""
    return min(1.0, images / recipe.dropout_images) if recipe.dropout_images else 1.0


def make_optimizer(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, with a learning rate for the transformer and one for all else.

    A generator's discriminator has one of its own, too.
    """
    groups = _groups(model.backbone, recipe.lr, recipe.weight_decay)
    betas = (MOMENTUM, _SQUARES)
    if isinstance(model, Aligner):
        groups += _groups(model.words, recipe.lr, recipe.weight_decay)
    if isinstance(model, Generator):
        groups, betas = (
            groups + _groups(model.discriminator, recipe.lr * _DISCRIMINATOR_RATE, recipe.weight_decay),
            _ADVERSARIAL_BETAS,
        )
    if model.transformer is not None:
        groups += _groups(model.transformer, recipe.lr * recipe.loc_lr_scale, recipe.weight_decay)
    # Fused, it reads and writes each weight once: for VGG-11's 129 million Adam takes 0.2 s of a CPU instead of 1.4.
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, betas=betas, fused=True)


def _groups(part: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """Return the weights of a part of the model as groups of one learning rate and one decay each.

    A bias of the last layer of a localizer is the identity that it starts with: decay would shrink the crop to a point.
    """
    weights = list(part.parameters())
    kept = [weight for weight in weights if decay and weight.ndim < 2]
    decayed = [weight for weight in weights if not (decay and weight.ndim < 2)]
    groups = [(decayed, decay), (kept, 0.0)]
    named: list[dict[str, Any]] = [
        {"params": each, "lr": rate, "full_lr": rate, "weight_decay": own} for each, own in groups if each
    ]
    return named


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, done: float, share: float) -> None:
    """Set the learning rate of a step.

    done:  epochs that have passed, a fraction
    share: how far the schedule is, 0..1 (`lstn.train.schedule`)
    """
    factor = min(1.0, done / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    if recipe.cosine:
        factor *= 0.5 + 0.5 * math.cos(math.pi * share)
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
