"""Recipes: the choices about how weights are fitted that `--recipe` makes at once."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lstn.contract import ThetaForm
from lstn.untrusted.checked_json import Count, Magnitude, Natural

RecipeName: TypeAlias = Literal["paper", "robust"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every choice about the fit; what has a default here is off by it, as in runs from before there were recipes.

    batch_size:    images per step, over all processes
    patience:      stop after this many epochs without a better validation accuracy
    lr:            Adam's learning rate
    loc_lr_scale:  the localizer's learning rate, as a share of `lr`
    warmup_epochs: over which the learning rate rises from nothing
    cosine:        let the learning rate fall to nothing by the last epoch
    theta:         what the transformer can do
    in_frame:      weight of the penalty for corners outside of the frame, in nats per squared half side
    equivariance:  weight of the second loss, by which the crop of a moved picture has to move along
                   (`lstn.train.batches.equivariance`), in nats per squared half side
    dropout_images: trainings of fewer images, over all epochs, use their share of the backbone's dropout and stochastic
                   depth: short ones learn faster without. 0: all of it, however short
    """

    batch_size: Count
    patience: Count
    lr: Magnitude
    loc_lr_scale: Magnitude
    warmup_epochs: Magnitude = 0.0
    cosine: bool = False
    theta: ThetaForm = ThetaForm.AFFINE
    in_frame: Magnitude = 0.0
    equivariance: Magnitude = 0.0
    dropout_images: Natural = 0


RECIPES: dict[RecipeName, Recipe] = {
    # The paper's text on training; one rate for all weights.
    "paper": Recipe(batch_size=16, patience=10, lr=0.001, loc_lr_scale=1.0),
    # What helped in results/recipe/ablation-*.md: at the backbone's own rate a localizer can run away from the image.
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
"""The rest of a recipe's choices stay off until an ablation shows that they help (`lstn.research.ablation`)."""

DEFAULT_RECIPE: RecipeName = "robust"


def by_recipe(choice: str) -> str:
    """Say what the default recipe chooses, and what the others choose instead, such as `0.3; paper: 1`."""
    default, *others = (_shown(RECIPES[name], choice) for name in _names())
    named = [f"{name}: {value}" for name, value in zip(_names()[1:], others, strict=True) if value != default]
    return "; ".join([default, *named])


def _names() -> list[RecipeName]:
    return [DEFAULT_RECIPE, *(name for name in RECIPES if name != DEFAULT_RECIPE)]


def _shown(recipe: Recipe, choice: str) -> str:
    value = getattr(recipe, choice)
    return str(value.value) if isinstance(value, ThetaForm) else f"{value:g}"
