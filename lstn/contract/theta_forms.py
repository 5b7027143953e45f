"""Forms of theta: which warps a localizer answers with, what is true of them, and how large their crops may be."""

import math
from dataclasses import dataclass
from enum import Enum

from lstn.errors import UsageError


class ThetaForm(str, Enum):
    """Which warps a localizer can answer with (`lstn.nn.warping.forms`): affine ones, all or some; perspective; a thin
    plate spline through 16 points; or a log-polar picture of a disc."""

    AFFINE = "affine"
    SIMILARITY = "similarity"
    CROP = "crop"
    PROJECTIVE = "projective"
    TPS = "tps"
    POLAR = "polar"


SPLINE_SIDE = 4
"""Control points of a thin plate spline along each side of its crop."""


@dataclass(frozen=True, slots=True)
class FormTraits:
    """What is true of all thetas of a form.

    affine:  an affine matrix says it all: the crop is a parallelogram, and composing two gives another of this form
    bounded: it can't leave the image by more than its bounds
    dense:   its grid keeps numbers for each point of the crop, and composing two gives none of this form
    shape:   of one warp's theta
    since:   the first version of a contract that can name it
    """

    affine: bool
    bounded: bool
    dense: bool = False
    shape: tuple[int, int] = (2, 3)
    since: int = 1


FORM_TRAITS: dict[ThetaForm, FormTraits] = {
    ThetaForm.AFFINE: FormTraits(affine=True, bounded=False),
    ThetaForm.SIMILARITY: FormTraits(affine=True, bounded=True),
    ThetaForm.CROP: FormTraits(affine=True, bounded=True),
    ThetaForm.PROJECTIVE: FormTraits(affine=False, bounded=False, shape=(3, 3), since=4),
    ThetaForm.TPS: FormTraits(affine=False, bounded=False, dense=True, shape=(SPLINE_SIDE**2, 2), since=4),
    ThetaForm.POLAR: FormTraits(affine=False, bounded=True, dense=True, since=4),
}
"""Total over `ThetaForm`."""

AFFINE_FORMS = tuple(form for form, traits in FORM_TRAITS.items() if traits.affine)
UNBOUNDED = tuple(form for form, traits in FORM_TRAITS.items() if not traits.bounded)


def theta_shape(form: ThetaForm) -> tuple[int, int]:
    """Return the shape of one warp's theta: (2, 3), of a projective one (3, 3), of a spline its points (16, 2)."""
    return FORM_TRAITS[form].shape


_MOST_POINTS = 1 << 20
"""That are read for a crop whose form keeps numbers for each: a contract from somewhere could ask for gigabytes."""


def taps(side: int, of_crop: int) -> int:
    """Return how many points along an axis make a pixel of the crop: as many as keep them 4 pixels apart at most.

    At the identity points are up to 4 pixels apart, and up to 2 where an object fills half of the picture, which is as
    much as bilinear sampling sees. Twice as many points take ONNX Runtime four times the sampler's time, and brought
    nothing: 37.4 and 38.3 % right on digits of 0.18 to 0.5 of a picture's side after the same three epochs.
    """
    return max(1, math.ceil(side / (4 * of_crop)))


def check_crop(crop_hw: tuple[int, int], image_hw: tuple[int, int], form: ThetaForm) -> None:
    """Check that a crop of what is warped can be made.

    Raises:
        UsageError: it is larger than that, or has more pixels than its form can keep numbers for.
    """
    if crop_hw[0] > image_hw[0] or crop_hw[1] > image_hw[1]:
        raise UsageError(
            "a crop of {} x {} pixels is larger than the image, {} x {}".format(*crop_hw, *image_hw),
            hint="use a smaller crop, or larger images",
        )
    read = math.prod(side * taps(of_image, side) for side, of_image in zip(crop_hw, image_hw, strict=True))
    if FORM_TRAITS[form].dense and read > _MOST_POINTS:
        raise UsageError(
            "a crop of {} x {} pixels is too large for theta {}, which keeps numbers for each point".format(
                *crop_hw, form.value
            ),
            hint="use smaller crops and images, or another theta",
        )


def check_looks(iterations: int, form: ThetaForm) -> None:
    """Check that several looks can be one theta.

    Raises:
        UsageError: two such warps are no third one.
    """
    if iterations > 1 and FORM_TRAITS[form].dense:
        raise UsageError(
            f"a localizer of theta {form.value} looks once: two such warps are no third", hint="leave out iterations"
        )
