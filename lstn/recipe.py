"""Recipes: the choices about how weights are fitted that `--recipe` makes at once."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lstn.contract import Task, ThetaForm
from lstn.untrusted.checked_json import Count, Magnitude, Natural, Share

MAX_BATCH = 65_536
"""Images of a step: what the largest clusters take."""

MAX_EPOCHS = 1_000_000
"""Of any run: far beyond what anybody trains, and within what every counter here holds."""

RecipeName: TypeAlias = Literal["paper", "robust"]

OptimizerName: TypeAlias = Literal["adam", "adamw", "sgd"]
"""torch's: Adam, AdamW, and SGD with a momentum of 0.9 (`lstn.train.optimizer`)."""

Balance: TypeAlias = Literal["none", "weights", "sampling"]
"""How classes of different sizes come to count alike.

weights:  an image counts in the loss by n / (K n_c), where n_c of all n images are of its class, one of K. The mean
          over the images is 1. scikit-learn calls these weights "balanced"
sampling: an epoch has as many images as before, and as many of one class as of another. Images of small classes are
          repeated, and changed by `--augment` in another way each time
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Every choice about the fit; what has a default here is off by it, as in runs from before there were recipes.

    batch_size:    images of a batch, over all processes
    patience:      stop after this many epochs without a better validation accuracy
    lr:            the learning rate
    loc_lr_scale:  the localizer's learning rate, as a share of `lr`
    warmup_epochs: over which the learning rate rises from nothing
    cosine:        let the learning rate fall to nothing by the end of the last epoch
    theta:         what the transformer can do
    in_frame:      weight of the penalty for corners outside of the frame, in nats per squared half side
    equivariance:  weight of the second loss, by which the crop of a moved picture has to move along
                   (`lstn.train.objectives.following_loss`), in nats per squared half side
    optimizer:     takes the steps
    weight_decay:  of weights with two dimensions or more: biases and what normalises are left as they are. AdamW takes
                   it from the weight itself (Loshchilov & Hutter 2019), the others add it to the gradient
    label_smoothing: share of a label that goes to all classes alike (Szegedy et al. 2016, section 7)
    balance:       how classes of different sizes come to count alike
    accumulate:    batches whose gradients make up one step
    freeze:        epochs in which of the backbone only the last layer is fitted
    hours:         of training: as many epochs as fit (`lstn.train.schedule`). 0: as many as are asked for
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
    optimizer: OptimizerName = "adam"
    weight_decay: Magnitude = 0.0
    label_smoothing: Share = 0.0
    balance: Balance = "none"
    accumulate: Count = 1
    freeze: Natural = 0
    hours: Magnitude = 0.0
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

MOVES_WEIGHT = 10.0
"""Of `equivariance`, by which an L-STN is trained where nobody says otherwise (`lstn.train.choices.task_choices`)."""


def usual_model(task: Task) -> str:
    """Return the name of the backbone where nobody says otherwise."""
    return "dcgan" if task is Task.GENERATE else "effnet-b0"


def by_recipe(choice: str) -> str:
    """Say what the default recipe chooses, and what the others choose instead, such as `0.3; paper: 1`."""
    default, *others = (_shown(RECIPES[name], choice) for name in _names())
    named = [f"{name}: {value}" for name, value in zip(_names()[1:], others, strict=True) if value != default]
    return "; ".join([default, *named])


def _names() -> list[RecipeName]:
    return [DEFAULT_RECIPE, *(name for name in RECIPES if name != DEFAULT_RECIPE)]


def _shown(recipe: Recipe, choice: str) -> str:
    value = getattr(recipe, choice)
    value = value.value if isinstance(value, ThetaForm) else value
    return value if isinstance(value, str) else f"{value:g}"
