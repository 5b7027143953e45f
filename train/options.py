"""What a run is: the choices that its weights depend on, kept in its folder so that it can be resumed."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from lstn.contract import Loc
from lstn.errors import ArtifactError

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
"""Arithmetic of the backbone in training; the transformer always computes in float32."""


@dataclass(frozen=True, slots=True)
class Options:
    """Every choice that changes the weights.

    model:        a name in BACKBONES
    data:         the data set, as `--data` names it
    weights:      `imagenet`, a file, or empty for a random start
    image_size:   side of the square input, in pixels
    lr:           Adam's learning rate
    loc_lr_scale: the localizer's learning rate, as a share of `lr`
    patience:     stop after this many epochs without a better validation accuracy
    """

    loc: Loc
    model: str
    data: str
    weights: str
    image_size: int
    epochs: int
    patience: int
    batch_size: int
    lr: float
    loc_lr_scale: float
    precision: Precision
    seed: int

    def to_json(self) -> str:
        """Return the options as one JSON string."""
        return json.dumps(asdict(self) | {"loc": self.loc.value})

    @staticmethod
    def from_json(text: str, *, source: str) -> "Options":
        """Read options back.

        Raises:
            ArtifactError: written by another version of lstn, or damaged.
        """
        try:
            fields = json.loads(text)
            return Options(**fields | {"loc": Loc(fields["loc"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{source}: can't be resumed by this version of lstn ({error!r})") from error
