"""How weights are fitted: the choices that `--recipe` makes at once, and what they mean for the optimizer."""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch

from lstn.contract import ThetaForm
from lstn.nn.backbones import backbone_named
from lstn.nn.classifier import Classifier

RecipeName: TypeAlias = Literal["paper", "robust"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every choice about the fit; what has a default here is off by it, as in runs from before there were recipes.

    batch_size:    images per step, over all processes
    patience:      stop after this many epochs without a better validation accuracy
    lr:            Adam's learning rate
    loc_lr_scale:  the localizer's learning rate, as a share of `lr`
    weight_decay:  decoupled (Loshchilov & Hutter 2019), on weights; biases, theta's above all, are left alone
    warmup_epochs: over which the learning rate rises from nothing
    cosine:        let the learning rate fall to nothing by the last epoch
    ema_epochs:    evaluate and keep weights that are averaged over about so many epochs; 0 for the last ones
    clip_norm:     scale gradients down to this norm over all weights; 0 for as they are
    theta:         what the transformer can do
    in_frame:      weight of the penalty for corners outside of the frame, in nats per squared half side
    dropout_images: trainings of fewer images, over all epochs, use their share of the backbone's dropout and stochastic
                   depth: short ones learn faster without. 0: all of it, however short
    """

    batch_size: int
    patience: int
    lr: float
    loc_lr_scale: float
    weight_decay: float = 0.0
    warmup_epochs: float = 0.0
    cosine: bool = False
    ema_epochs: float = 0.0
    clip_norm: float = 0.0
    theta: ThetaForm = ThetaForm.AFFINE
    in_frame: float = 0.0
    dropout_images: int = 0


RECIPES: dict[RecipeName, Recipe] = {
    # The paper's text on training; one rate for all weights.
    "paper": Recipe(batch_size=16, patience=10, lr=0.001, loc_lr_scale=1.0),
    # What helped in docs/results/ablation-*.md: at the backbone's own rate a localizer can run away from the image.
    "robust": Recipe(
        batch_size=32,
        patience=10,
        lr=0.001,
        loc_lr_scale=0.3,
        warmup_epochs=1.0,
        cosine=True,
        dropout_images=1_000_000,
    ),
}
"""The rest of a recipe's choices stay off until an ablation shows that they help (benchmarks/ablation.py)."""


def recipe_for(name: RecipeName, model: str) -> Recipe:
    """Return a recipe with the learning rate for this backbone; the paper's has one rate for all."""
    recipe = RECIPES[name]
    return recipe if name == "paper" else replace(recipe, lr=recipe.lr * backbone_named(model).rate)


def dropout_share(recipe: Recipe, images: int) -> float:
    """Return how much of the published dropout a training on `images` images, over all epochs, uses, 0..1."""
    return min(1.0, images / recipe.dropout_images) if recipe.dropout_images else 1.0


def make_optimizer(model: Classifier, recipe: Recipe) -> torch.optim.Adam:
    """Return Adam with a learning rate for the backbone and one for the transformer.

    With weight decay each part has two groups, for decay would pull theta's bias from the identity to nothing.
    """
    parts = [(model.backbone, recipe.lr)]
    if model.transformer is not None:
        parts.append((model.transformer, recipe.lr * recipe.loc_lr_scale))
    groups = []
    for part, rate in parts:
        weights = [weight for weight in part.parameters() if weight.ndim > 1 or not recipe.weight_decay]
        rest = [weight for weight in part.parameters() if weight.ndim <= 1 and recipe.weight_decay]
        groups.append({"params": weights, "lr": rate, "full_lr": rate, "weight_decay": recipe.weight_decay})
        if rest:
            groups.append({"params": rest, "lr": rate, "full_lr": rate, "weight_decay": 0.0})
    # Without decay AdamW is Adam, to the bit. Fused, it reads and writes each weight once: for VGG-11's 129 million it
    # takes 0.2 s of a CPU instead of 1.4.
    return torch.optim.AdamW(groups, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, done: float, epochs: int) -> None:
    """Set the learning rate of the step that begins when `done` epochs, a fraction, of `epochs` have passed."""
    factor = min(1.0, done / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    if recipe.cosine:
        factor *= 0.5 + 0.5 * math.cos(math.pi * done / epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor


@torch.no_grad()
def average(averaged: Classifier, model: Classifier, steps: int, horizon: float) -> None:
    """Move `averaged` towards `model`, which has taken `steps` steps, so that about the last `horizon` of them count.

    BatchNorm's statistics are averaged with the weights that they belong to. At the beginning fewer steps count, or the
    random start would stay in the average for epochs.
    """
    share = max(1 / max(horizon, 1.0), 10 / (9 + steps))
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)  # how many batches BatchNorm has seen


def outside(theta: torch.Tensor) -> torch.Tensor:
    """theta (N, 2, 3) -> half the mean squared distance of its corners from the frame, in half sides, a scalar."""
    corners = torch.tensor([[-1.0, -1, 1, 1], [-1, 1, -1, 1], [1, 1, 1, 1]], device=theta.device)
    return (theta @ corners).abs().sub(1).relu().square().mean()
