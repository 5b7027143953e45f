"""Options of a run: the choices that its weights depend on, kept in its folder so that it can be resumed."""

import json
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, TRAINED_SIDES, At, Contract, Fit, Iterations, Loc, Task, Warps
from lstn.errors import ArtifactError
from lstn.nn.warping.localizers import usual_view
from lstn.recipe import Recipe
from lstn.train.batches.augment import Augment
from lstn.untrusted.checked_json import Count, Magnitude, Natural, checked, parsed

TrainingPrecision: TypeAlias = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the backbone in training; the transformer always computes in float32."""

_Side: TypeAlias = Annotated[int, Meta(ge=TRAINED_SIDES[0], le=TRAINED_SIDES[1])]
Size: TypeAlias = tuple[_Side, _Side]
"""Height and width in pixels."""

CropSize: TypeAlias = tuple[
    Annotated[int, Meta(ge=1, le=TRAINED_SIDES[1])], Annotated[int, Meta(ge=1, le=TRAINED_SIDES[1])]
]
"""Height and width of what the backbone gets: pixels, or places of a map, of which small images have few."""

NOISE_NUMBERS = 64
"""That a generator paints a picture from."""

_SIZES = ("image_size", "view", "crop")

_GONE = ("weight_decay", "clip_norm")
"""Numbers that recipes until 0.1 had, before there was a choice of optimizers, and that no command could set: only runs
that had 0 go on as they were. Their weight decay took other weights than that of today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every choice that changes the weights: a recipe, and what it is applied to.

    model:      what the contract calls the backbone
    data:       the data set, as `--data` names it
    weights:    `imagenet`, a file, or empty for a random start
    image_size: of the input
    augment:    how training images are changed at random (`lstn.train.batches.augment`)
    task:       what the model answers
    fit:        how a photo becomes an image of that size
    iterations, at, warps: of the transformer, as in `Contract`
    view, crop: of what the localizer sees, and of what the backbone gets; None: the localizer's usual view, and a crop
                as large as the image
    supervise:  weight of the distance between theta and the true pose (`lstn.train.objectives.supervision`)
    teacher:    file of a trained classifier to learn from (`lstn.train.objectives.distillation`); empty for none
    """

    recipe: Recipe
    loc: Loc
    model: str
    data: str
    weights: str
    image_size: Size
    epochs: Count
    precision: TrainingPrecision
    seed: Natural
    augment: Augment = "none"
    iterations: Iterations = 1
    at: At = At.INPUT
    view: Size | None = None
    crop: CropSize | None = None
    supervise: Magnitude = 0.0
    warps: Warps = 1
    task: Task = Task.CLASSIFY
    fit: Fit = Fit.STRETCH
    teacher: str = ""

    def contract(
        self,
        labels: tuple[str, ...],
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> Contract:
        """Return what a model trained so is: of these classes, with pixels normalised by `mean` and `std`."""
        view = usual_view(self.loc, self.image_size) if self.view is None else self.view
        return Contract(
            loc=self.loc,
            backbone=self.model,
            image_hw=self.image_size,
            labels=labels,
            mean=mean,
            std=std,
            theta=self.recipe.theta,
            iterations=self.iterations,
            at=self.at,
            view_hw=None if view == self.image_size else view,
            crop_hw=None if self.crop == self.image_size else self.crop,
            warps=self.warps,
            task=self.task,
            fit=self.fit,
            separator=" " if self.task is Task.ALIGN else "",
            noise=NOISE_NUMBERS if self.task is Task.GENERATE else 0,
        )

    def values(self) -> dict[str, object]:
        """Return every choice by its name, the recipe's among them, as JSON says it."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "recipe"}
        words = {name: value.value for name, value in named.items() if isinstance(value, Enum)}
        return asdict(self.recipe) | named | words | {"theta": self.recipe.theta.value}

    def to_json(self) -> str:
        """Return the options as one JSON string."""
        return json.dumps(self.values())

    @staticmethod
    def from_json(text: str, *, source: str) -> "Options":
        """Read options back; runs from before there were recipes lack some, and had none of what they say.

        Raises:
            ArtifactError: written by another version of lstn, or damaged.
        """
        try:
            given = checked(parsed(text), dict[str, Any])
            given.pop("ema_epochs", None)  # of averaged weights, which runs until 0.1 could keep beside their own
            if any(given.pop(name, 0) for name in _GONE if name == "clip_norm" or "optimizer" not in given):
                raise ValueError(f"trained with {' or '.join(_GONE)}")
            given |= {name: [given[name]] * 2 for name in _SIZES if isinstance(given.get(name), int)}  # until 0.1
            names = {each.name for each in fields(Recipe)}
            recipe = checked({name: given.pop(name) for name in names & set(given)}, Recipe)
            return checked({"recipe": recipe} | given, Options, exactly=True)
        except ValueError as error:
            raise ArtifactError(f"{source}: can't be resumed by this version of lstn ({error!s:.200})") from error


def said(size: Size) -> str:
    """Return a size as a user says it: 224, or 240x320."""
    return "x".join(str(side) for side in dict.fromkeys(size))
