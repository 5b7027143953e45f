"""Options of a recipe and of the network, which `lstn train` and `lstn study` share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.contract import TRAINED_SIDES, Fit, ThetaForm
from lstn.errors import UsageError
from lstn.recipe import MAX_EPOCHS, MOVES_WEIGHT, Balance, OptimizerName, by_recipe

if TYPE_CHECKING:
    from lstn.train.choices.asked_run import NetworkSizes
    from lstn.train.runs.options import Size

Rate = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        min=0,
        help="The learning rate.",
        show_default=f"{by_recipe('lr')}; robust: less for VGG, AlexNet and ZFNet, more for cnn; sgd: 10 times that",
    ),
]
Optimizer = Annotated[
    OptimizerName | None,
    typer.Option(help="What takes the steps; sgd has a momentum of 0.9.", show_default=by_recipe("optimizer")),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        metavar="DECAY",
        min=0,
        help="Weight decay, but of biases and normalisation.",
        show_default=f"{by_recipe('weight_decay')}; adamw: 0.01",
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0,
        max=1,
        help="Share of each label that goes to all classes alike.",
        show_default=by_recipe("label_smoothing"),
    ),
]
Balanced = Annotated[
    Balance | None,
    typer.Option(
        help="Have classes of different sizes count alike: by weights in the loss, or by showing rare ones more often.",
        show_default=by_recipe("balance"),
    ),
]
Accumulate = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Batches whose gradients make up one step, where memory holds no larger batch.",
        show_default=by_recipe("accumulate"),
    ),
]
Freeze = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=MAX_EPOCHS,
        help="In the first N epochs keep the backbone's weights, but the last layer's.",
        show_default=by_recipe("freeze"),
    ),
]
AugmentOption = Annotated[
    str,
    typer.Option(
        metavar="A,B,…",
        help="Change training images: affine (turn, shift, scale a little) or standard (crop, and mirror where fit); "
        "and randaugment, erase, mixup, cutmix.",
    ),
]
Hours = Annotated[
    float | None,
    typer.Option(
        metavar="H",
        min=0,
        help="Train for so many hours, in as many epochs as fit.",
        show_default="off",
    ),
]
TeacherOption = Annotated[
    Path | None,
    typer.Option(
        "--teacher", metavar="RUN|FILE", help="Learn from this trained classifier's answers, and from the labels."
    ),
]
LocRate = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        min=0,
        help="The localizer's learning rate, as a share of --lr.",
        show_default=f"{by_recipe('loc_lr_scale')}; 1 where lstn train --loc lstn moves pictures",
    ),
]
ThetaOption = Annotated[
    ThetaForm | None,
    typer.Option(
        help="What the transformer can do: any affine matrix, a bounded one (similarity, crop), or another warp.",
        show_default=by_recipe("theta"),
    ),
]
InFrame = Annotated[
    float | None,
    typer.Option(
        metavar="WEIGHT",
        min=0,
        help="Weight of the penalty for corners outside of the frame.",
        show_default=by_recipe("in_frame"),
    ),
]
Equivariance = Annotated[
    float | None,
    typer.Option(
        metavar="WEIGHT",
        min=0,
        help="Weight of the loss by which a moved picture's crop has to move along.",
        show_default=f"{by_recipe('equivariance')}; lstn train --loc lstn: {MOVES_WEIGHT:g}",
    ),
]
Supervise = Annotated[
    float,
    typer.Option(
        metavar="WEIGHT", min=0, help="Weight of the distance between theta and the true pose, where a set knows it."
    ),
]


def _checked_size(parameter: typer.CallbackParam, text: str | None) -> str | None:
    """Check a size before anything is loaded.

    Raises:
        UsageError: it is neither a side nor height x width, or no size that images have.
    """
    _sides(parameter.opts[0], text)
    return text


ImageSize = Annotated[
    str | None,
    typer.Option(
        metavar="S|HxW",
        callback=_checked_size,
        help="Input in pixels: a side, or height x width.",
        show_default="the set's or the backbone's",
    ),
]
View = Annotated[
    str | None,
    typer.Option(
        metavar="S|HxW",
        callback=_checked_size,
        help="Size at which the localizer sees the image.",
        show_default="the image's; glance: 64 or less",
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="S|HxW",
        callback=_checked_size,
        help="Size of the crop that the backbone gets.",
        show_default="the image's",
    ),
]


def sizes_of(image_size: str | None, view: str | None, crop: str | None, fit: Fit = Fit.STRETCH) -> "NetworkSizes":
    """Return what was said of the sizes, each such as `224` or `240x320`, and of how photos become images."""
    from lstn.train.choices.asked_run import NetworkSizes

    return NetworkSizes(_sides("--image-size", image_size), _sides("--view", view), _sides("--crop", crop), fit)


def _sides(option: str, text: str | None) -> "Size | None":
    return None if text is None else sides_from(option, text)


def sides_from(option: str, text: str) -> "Size":
    """Return height and width of what an option says: a side, or `240x320`.

    Raises:
        UsageError: neither, or not of a size that lstn trains on.
    """
    least, most = TRAINED_SIDES
    sides = text.lower().replace(" ", "").split("x")
    if len(sides) > 2 or not all(side.isdecimal() and len(side) < 6 and least <= int(side) <= most for side in sides):
        raise UsageError(
            f"{option} {text!r:.40}: expected a side, or height x width, of {least} to {most} pixels",
            hint=f"such as {option} 224, or {option} 240x320",
        )
    return int(sides[0]), int(sides[-1])
