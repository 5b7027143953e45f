"""Contract: what a model is, as one frozen value that every artifact carries, so that no command asks again."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from lstn.errors import ArtifactError, UsageError

METADATA_KEY = "lstn"
"""Where the contract lives: an ONNX file's metadata_props and a checkpoint's header both use this key."""

PIXELS, LOGITS, THETA = "pixels", "logits", "theta"
"""Names of the input and the outputs of every exported model."""

VERSION = 3
"""Version 2 can say what theta is bounded to; version 3 a localizer that isn't the paper's, several iterations, and a
transformer that isn't in front of everything. A contract is written in the oldest version that can say it."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_MAX_JSON = 4 << 20
_MAX_SIDE = 8192
MAX_LABELS, MAX_NAME = 100_000, 200
"""Classes of a model, and characters of a class's or a backbone's name."""

MAX_ITERATIONS = 8


class Loc(str, Enum):
    """The localizer: none, one of the paper's (L-STN paper, Tables 1-3), one on the backbone's own first layers, or a
    control, which an experiment compares the others with (`lstn.nn.localizers`)."""

    NONE = "none"
    STN = "stn"
    VSTN = "vstn"
    LSTN = "lstn"
    SHARED = "shared"
    IDENTITY = "identity"
    DEAD = "dead"


PAPER_LOCS = (Loc.NONE, Loc.STN, Loc.VSTN, Loc.LSTN)
"""Those that the paper compares."""

CONTROLS = (Loc.IDENTITY, Loc.DEAD)
"""Whose warp is always the identity: trained to be compared with, and of no use otherwise."""


class At(str, Enum):
    """What the transformer warps: the image, or the feature map behind the backbone's first layers."""

    INPUT = "input"
    STEM = "stem"


class ThetaForm(str, Enum):
    """Which affine matrices a localizer can answer with (`lstn.nn.forms`)."""

    AFFINE = "affine"
    SIMILARITY = "similarity"
    CROP = "crop"


@dataclass(frozen=True, slots=True)
class Contract:
    """What a model is.

    loc:      the localizer; `none` means that the model has no theta output
    backbone: a name in `lstn.nn.backbones.BACKBONES`, or `module:NAME` for a network that isn't made by lstn
    image_hw: height and width of the input, in pixels
    labels:   one name per class, in the order of the logits
    mean, std: per RGB channel on the 0..1 scale; the graph itself normalises
    theta:    what the transformer can do: any affine matrix, as in the paper, or a bounded one
    iterations: how often the localizer looks, each time at what it chose so far; theta composes them
    at:       what the transformer warps; theta means the same there, for each map spans -1..1
    """

    loc: Loc
    backbone: str
    image_hw: tuple[int, int]
    labels: tuple[str, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    theta: ThetaForm = ThetaForm.AFFINE
    iterations: int = 1
    at: At = At.INPUT

    def to_json(self) -> str:
        """Return the contract as one JSON string, in the oldest version that can say it."""
        fields = asdict(self) | {"loc": self.loc.value}
        newest = {"iterations": fields.pop("iterations"), "at": self.at.value}
        bounds = {"theta": self.theta.value}
        del fields["theta"], fields["at"]
        if self.loc not in PAPER_LOCS or self.iterations > 1 or self.at is not At.INPUT:
            fields |= {"version": 3} | bounds | newest
        elif self.theta is not ThetaForm.AFFINE:
            fields |= {"version": 2} | bounds
        else:
            fields |= {"version": 1}
        return json.dumps(fields, ensure_ascii=False)

    @staticmethod
    def checked(fields: Mapping[str, object]) -> "Contract":
        """Make a contract of values that a program gives: names for enums, and any sequences.

        fields: every field of a contract, by its name

        Raises:
            UsageError: a value that no contract allows.
        """
        plain = {name: list(value) if isinstance(value, (tuple, list)) else value for name, value in fields.items()}
        try:
            return _of_fields(plain)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"no model can be so: {error}") from error

    @staticmethod
    def from_json(text: str, *, source: str) -> "Contract":
        """Read a contract from untrusted text; `source` names the file in errors.

        Raises:
            ArtifactError: not JSON, a field missing or of the wrong kind, or a newer version.
        """
        if len(text) > _MAX_JSON:
            raise ArtifactError(f"{source}: its contract is {len(text)} characters long, more than {_MAX_JSON}")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{source}: its contract is not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ArtifactError(f"{source}: its contract is not a JSON object")
        if fields.get("version") not in range(1, VERSION + 1):
            raise ArtifactError(
                f"{source}: contract version {fields.get('version')!r}, this lstn reads up to version {VERSION}",
                hint="export it again with this version of lstn",
            )
        try:
            version = fields["version"]
            known = fields if version > 2 else fields | {"iterations": 1, "at": At.INPUT.value}
            contract = _of_fields(known if version > 1 else known | {"theta": ThetaForm.AFFINE.value})
            if contract.loc not in PAPER_LOCS and version < 3:
                raise ValueError(f"version {version} knows no loc {contract.loc.value}")
            return contract
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise ArtifactError(f"{source}: its contract is damaged: {what}") from error


def _of_fields(fields: Mapping[str, Any]) -> Contract:
    return Contract(
        loc=Loc(fields["loc"]),
        backbone=_name(fields["backbone"]),
        image_hw=_image_hw(fields["image_hw"]),
        labels=_labels(fields["labels"]),
        mean=_three_floats(fields["mean"]),
        std=_three_floats(fields["std"], positive=True),
        theta=ThetaForm(fields["theta"]),
        iterations=_iterations(fields["iterations"]),
        at=At(fields["at"]),
    )


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"{value!r:.80} is not a name")
    return value


def _image_hw(value: object) -> tuple[int, int]:
    match value:
        case [int(height), int(width)] if 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE:
            return height, width
    raise ValueError(f"image_hw {value!r:.80} is not two sizes between 1 and {_MAX_SIDE}")


def _iterations(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_ITERATIONS:
        raise ValueError(f"iterations {value!r:.80}, expected 1 to {MAX_ITERATIONS}")
    return value


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_LABELS:
        raise ValueError(f"labels are not a list of 1 to {MAX_LABELS} names")
    return tuple(_name(label) for label in value)


def _three_floats(value: object, *, positive: bool = False) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError(f"{value!r:.80} is not three numbers")
    r, g, b = (float(number) for number in value)
    if not all(math.isfinite(number) and (number > 0 or not positive) for number in (r, g, b)):
        raise ValueError(f"{value!r:.80} holds a number out of range")
    return r, g, b
