"""What a run is: the choices that its weights depend on, kept in its folder so that it can be resumed."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from lstn.contract import At, Loc, ThetaForm
from lstn.errors import ArtifactError
from lstn.train.augment import Augment
from lstn.train.recipes import Recipe

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the backbone in training; the transformer always computes in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Recipe):
    """Every choice that changes the weights: a recipe, and what it is applied to.

    model:      a name in BACKBONES
    data:       the data set, as `--data` names it
    weights:    `imagenet`, a file, or empty for a random start
    image_size: side of the square input, in pixels
    augment:    how training images are changed at random (`lstn.train.augment`)
    iterations, at: of the transformer, as in `Contract`
    """

    loc: Loc
    model: str
    data: str
    weights: str
    image_size: int
    epochs: int
    precision: Precision
    seed: int
    augment: Augment = "none"
    iterations: int = 1
    at: At = At.INPUT

    def to_json(self) -> str:
        """Return the options as one JSON string."""
        return json.dumps(asdict(self) | {"loc": self.loc.value, "theta": self.theta.value, "at": self.at.value})

    @staticmethod
    def from_json(text: str, *, source: str) -> "Options":
        """Read options back; runs from before there were recipes lack some, and had none of what they say.

        Raises:
            ArtifactError: written by another version of lstn, or damaged.
        """
        try:
            fields = json.loads(text)
            kinds = {"theta": ThetaForm(fields.get("theta", ThetaForm.AFFINE)), "at": At(fields.get("at", At.INPUT))}
            return Options(**fields | kinds | {"loc": Loc(fields["loc"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{source}: can't be resumed by this version of lstn ({error!r})") from error
