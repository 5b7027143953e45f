"""Options of a run: the choices that its weights depend on, kept in its folder so that it can be resumed."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

from lstn.contract import MAX_ITERATIONS, At, Loc, ThetaForm
from lstn.errors import ArtifactError
from lstn.health.run_health import number
from lstn.recipe import Recipe
from lstn.train.augment import Augment

TrainingPrecision: TypeAlias = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the backbone in training; the transformer always computes in float32."""

_RANGES: dict[str, tuple[int, float]] = {
    "batch_size": (1, math.inf),
    "patience": (1, math.inf),
    "epochs": (1, math.inf),
    "image_size": (8, 4096),
    "dropout_images": (0, math.inf),
    "iterations": (1, MAX_ITERATIONS),
    "seed": (0, 2**63 - 1),
}
"""Least and most of every integer, as `lstn train` takes them."""

_GONE = ("weight_decay", "clip_norm")
"""Numbers that recipes until 0.1 had, and that no command could set: only runs that had 0 go on as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every choice that changes the weights: a recipe, and what it is applied to.

    model:      a name in BACKBONES
    data:       the data set, as `--data` names it
    weights:    `imagenet`, a file, or empty for a random start
    image_size: side of the square input, in pixels
    augment:    how training images are changed at random (`lstn.train.augment`)
    iterations, at: of the transformer, as in `Contract`
    """

    recipe: Recipe
    loc: Loc
    model: str
    data: str
    weights: str
    image_size: int
    epochs: int
    precision: TrainingPrecision
    seed: int
    augment: Augment = "none"
    iterations: int = 1
    at: At = At.INPUT

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the input, in pixels."""
        return self.image_size, self.image_size

    def values(self) -> dict[str, object]:
        """Return every choice by its name, the recipe's among them, as JSON says it."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "recipe"}
        words = {"loc": self.loc.value, "theta": self.recipe.theta.value, "at": self.at.value}
        return asdict(self.recipe) | named | words

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
            given = json.loads(text)
            given.pop("ema_epochs", None)  # of averaged weights, which runs until 0.1 could keep beside their own
            if any(given.pop(name, 0) for name in _GONE):
                raise ValueError(f"trained with {' or '.join(_GONE)}")
            kinds = {"theta": ThetaForm(given.get("theta", ThetaForm.AFFINE)), "at": At(given.get("at", At.INPUT))}
            given |= kinds | {"loc": Loc(given["loc"])}
            recipe = Recipe(**{name: given.pop(name) for name in get_type_hints(Recipe) if name in given})
            options = Options(recipe=recipe, **given)
            _check_all(recipe, get_type_hints(Recipe))
            _check_all(options, get_type_hints(Options))
            return options
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(f"{source}: can't be resumed by this version of lstn ({error!r:.200})") from error


def _check_all(made: Recipe | Options, hints: Mapping[str, Any]) -> None:
    for name, kind in hints.items():
        _check(name, getattr(made, name), kind)


def _check(name: str, value: object, kind: Any) -> None:
    if kind is float:
        number(value, sys.float_info.max)
        return
    least, most = _RANGES.get(name, (0, 0))
    words = get_args(kind)
    right = value in words if words else type(value) is kind
    if not right or (isinstance(value, int) and kind is int and not least <= value <= most):
        raise ValueError(f"{name} is {value!r:.80}")
