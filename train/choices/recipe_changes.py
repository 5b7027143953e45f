"""Changes of a recipe: what a user asks for in the place of its own choices."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

from lstn.contract import ThetaForm
from lstn.errors import UsageError
from lstn.nn.backbones import backbone_named
from lstn.recipe import RECIPES, Balance, OptimizerName, Recipe, RecipeName

T = TypeVar("T")

_SGD_RATE = 10.0
"""Of Adam's rate. torchvision's references train with 0.1 and 256 images per step, which is about 0.01 for 32."""

_ADAMW_DECAY = 0.01
"""torch's own."""

_SMALL = 96
"""Pixels: up to this side of images, a wide backbone takes more time for its weights than for the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerChanges:
    """What a user asks for, of how the transformer is fitted; None leaves a choice to the recipe."""

    loc_lr_scale: float | None = None
    theta: ThetaForm | None = None
    in_frame: float | None = None
    equivariance: float | None = None

    def numbers(self) -> dict[str, float]:
        """Return the numbers that were asked for, by the names of their choices."""
        named = {"loc_lr_scale": self.loc_lr_scale, "in_frame": self.in_frame, "equivariance": self.equivariance}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class TrainingChanges:
    """What a user asks for, of steps, labels and time; None leaves a choice to the recipe."""

    optimizer: OptimizerName | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    balance: Balance | None = None
    accumulate: int | None = None
    freeze: int | None = None
    hours: float | None = None

    def numbers(self) -> dict[str, float]:
        """Return the numbers that were asked for, by the names of their choices."""
        named = {"weight_decay": self.weight_decay, "label_smoothing": self.label_smoothing, "hours": self.hours}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeChanges:
    """What a user asks for in the place of a recipe's own choices; None leaves a choice to the recipe."""

    batch_size: int | None = None
    patience: int | None = None
    lr: float | None = None
    training: TrainingChanges = TrainingChanges()
    transformer: TransformerChanges = TransformerChanges()


def recipe_for(
    name: RecipeName, model: str, changes: RecipeChanges = RecipeChanges(), seen_hw: tuple[int, int] | None = None
) -> Recipe:
    """Return a recipe with the learning rate and the batch for this backbone, and with what is to be otherwise.

    The paper's has one of each for all backbones. SGD takes ten times Adam's, and AdamW has a weight decay of
    0.01, where nobody says otherwise. A wide backbone takes twice the batch on small images.

    seen_hw: height and width of what the backbone sees, in pixels; None: they don't count

    Raises:
        UsageError: no such backbone, or a number that isn't finite; or labels are smoothed away.
    """
    check_numbers(changes)
    own, training, how = RECIPES[name], changes.training, changes.transformer
    optimizer = _chosen(training.optimizer, own.optimizer)
    rate, batch_size = own.lr, own.batch_size
    if name != "paper":
        backbone = backbone_named(model)
        rate *= backbone.rate
        batch_size *= 2 if backbone.wide and seen_hw is not None and max(seen_hw) <= _SMALL else 1
    rate *= _SGD_RATE if optimizer == "sgd" else 1.0
    return replace(
        own,
        batch_size=_chosen(changes.batch_size, batch_size),
        patience=_chosen(changes.patience, own.patience),
        theta=_chosen(how.theta, own.theta),
        lr=_chosen(changes.lr, rate),
        loc_lr_scale=_chosen(how.loc_lr_scale, own.loc_lr_scale),
        in_frame=_chosen(how.in_frame, own.in_frame),
        equivariance=_chosen(how.equivariance, own.equivariance),
        optimizer=optimizer,
        weight_decay=_chosen(training.weight_decay, _ADAMW_DECAY if optimizer == "adamw" else own.weight_decay),
        label_smoothing=_chosen(training.label_smoothing, own.label_smoothing),
        balance=_chosen(training.balance, own.balance),
        accumulate=_chosen(training.accumulate, own.accumulate),
        freeze=_chosen(training.freeze, own.freeze),
        hours=_chosen(training.hours, own.hours),
    )


def check_numbers(changes: RecipeChanges) -> None:
    """Check the numbers that were asked for.

    Raises:
        UsageError: one isn't finite, or labels are smoothed away.
    """
    rate = {} if changes.lr is None else {"lr": changes.lr}
    for option, value in (rate | changes.transformer.numbers() | changes.training.numbers()).items():
        if not math.isfinite(value):
            raise UsageError(f"{option_of(option)} {value} is not a number to train with", hint="give a finite number")
    if (changes.training.label_smoothing or 0) >= 1:
        raise UsageError(
            f"--label-smoothing {changes.training.label_smoothing:g} leaves nothing of the labels",
            hint="use 0.1, or less",
        )


def check_budget(hours: float | None, epochs: int | None) -> None:
    """Check that a run is not given two budgets.

    Raises:
        UsageError: it is.
    """
    if hours and epochs is not None:
        raise UsageError("--hours takes as many epochs as fit", hint="leave out --epochs, or --hours")


def option_of(name: str) -> str:
    """Return the option of the command line by which a choice is made."""
    return f"--{name.replace('_', '-')}"


def _chosen(asked: T | None, own: T) -> T:
    return own if asked is None else asked
