"""Options of a recipe: how weights are fitted. `lstn train` and `lstn study` share them."""

from pathlib import Path
from typing import Annotated

import typer

from lstn.contract import ThetaForm
from lstn.recipe import MAX_BATCH, MAX_EPOCHS, MOVES_WEIGHT, Balance, OptimizerName, by_recipe

_USUAL_BATCH = f"{by_recipe('batch_size')}; robust: 64 for VGG on images of up to 96 pixels"

BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=MAX_BATCH,
        help="Images of a batch, over all processes.",
        show_default=_USUAL_BATCH,
    ),
]
AUTO = 0
"""What `--batch-size auto` is read as: a batch size is looked for."""


def _batch_size_or_auto(text: str) -> int:
    if text == "auto":
        return AUTO
    if not text.isdecimal() or not 1 <= int(text) <= MAX_BATCH:
        raise typer.BadParameter(f"{text!r:.40} is not a number of images from 1 to {MAX_BATCH}, or auto.")
    return int(text)


BatchSizeOrAuto = Annotated[
    int | None,
    typer.Option(
        parser=_batch_size_or_auto,
        metavar="N|auto",
        help="Images of a batch, over all processes; auto: as many as an NVIDIA GPU's memory holds.",
        show_default=_USUAL_BATCH,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Stop after this many epochs without a better validation accuracy.",
        show_default=by_recipe("patience"),
    ),
]
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
