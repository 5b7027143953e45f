"""Contract: what a model is, in a file and in a program. What the rest of lstn uses of it is listed here."""

from lstn.contract.artifact_names import LABEL, LOGITS, METADATA_KEY, NOISE, PIXELS, THETA
from lstn.contract.bounds import (
    MAX_ITERATIONS,
    MAX_LABELS,
    MAX_NAME,
    MAX_WARPS,
    REGIONS,
    SPACE,
    STEPS,
    TEMPERATURES,
    TRAINED_SIDES,
    Iterations,
    Separator,
    Warps,
)
from lstn.contract.checks import check_warps
from lstn.contract.choices import CONTROLS, PAPER_LOCS, At, Fit, Loc
from lstn.contract.contract_fields import IMAGENET_MEAN, IMAGENET_STD
from lstn.contract.model_contract import Contract
from lstn.contract.tasks import WHOLE_IMAGE, Task, check_sees, check_task, does, meant_for
from lstn.contract.theta_forms import (
    AFFINE_FORMS,
    FORM_TRAITS,
    SPLINE_SIDE,
    UNBOUNDED,
    ThetaForm,
    check_crop,
    check_looks,
    taps,
    theta_shape,
)
from lstn.contract.versions import VERSION

__all__ = [
    "AFFINE_FORMS",
    "CONTROLS",
    "FORM_TRAITS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "LABEL",
    "LOGITS",
    "MAX_ITERATIONS",
    "MAX_LABELS",
    "MAX_NAME",
    "MAX_WARPS",
    "METADATA_KEY",
    "NOISE",
    "PAPER_LOCS",
    "PIXELS",
    "REGIONS",
    "SPACE",
    "SPLINE_SIDE",
    "STEPS",
    "TEMPERATURES",
    "THETA",
    "TRAINED_SIDES",
    "UNBOUNDED",
    "VERSION",
    "WHOLE_IMAGE",
    "At",
    "Contract",
    "Fit",
    "Iterations",
    "Loc",
    "Separator",
    "Task",
    "ThetaForm",
    "Warps",
    "check_crop",
    "check_looks",
    "check_sees",
    "check_task",
    "check_warps",
    "does",
    "meant_for",
    "taps",
    "theta_shape",
]
