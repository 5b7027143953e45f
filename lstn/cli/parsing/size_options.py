"""Options of sizes, which `lstn train` and `lstn study` share: of the input, of what the localizer sees, of a crop."""

from typing import TYPE_CHECKING, Annotated

import typer

from lstn.contract import TRAINED_SIDES, Fit
from lstn.errors import UsageError

if TYPE_CHECKING:
    from lstn.train.choices.asked_run import NetworkSizes
    from lstn.train.runs.options import Size


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
