"""Recipes applied to the optimizer."""

import math
from dataclasses import replace

import torch

from lstn.nn.backbones import backbone_named
from lstn.nn.classifier import Classifier
from lstn.recipe import RECIPES as RECIPES
from lstn.recipe import Recipe as Recipe
from lstn.recipe import RecipeName as RecipeName


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


def outside(theta: torch.Tensor) -> torch.Tensor:
    """theta (N, 2, 3) -> half the mean squared distance of its corners from the frame, in half sides, a scalar."""
    corners = torch.tensor([[-1.0, -1, 1, 1], [-1, 1, -1, 1], [1, 1, 1, 1]], device=theta.device)
    return (theta @ corners).abs().sub(1).relu().square().mean()
