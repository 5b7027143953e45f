"""Options of a recipe and of the network, which `lstn train` and `lstn study` share."""

from typing import Annotated

import typer

from lstn.contract import ThetaForm
from lstn.recipe import by_recipe

Rate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Adam's learning rate.",
        show_default=f"{by_recipe('lr')}; robust: less for VGG, AlexNet and ZFNet, more for cnn",
    ),
]
LocRate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="The localizer's learning rate, as a share of --lr.",
        show_default=by_recipe("loc_lr_scale"),
    ),
]
ThetaOption = Annotated[
    ThetaForm | None,
    typer.Option(
        help="What the transformer can do; all but affine are bounded.",
        show_default=by_recipe("theta"),
    ),
]
InFrame = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Weight of the penalty for corners outside of the frame.",
        show_default=by_recipe("in_frame"),
    ),
]
Equivariance = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Weight of the loss by which a moved picture's crop has to move along.",
        show_default=by_recipe("equivariance"),
    ),
]
View = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=4096,
        help="Side at which the localizer sees the image, in pixels.",
        show_default="the image's; glance: 64 or less",
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(min=8, max=4096, help="Side of what the backbone gets, in pixels.", show_default="the image's"),
]
