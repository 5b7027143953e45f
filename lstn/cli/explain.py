"""`lstn explain`."""

from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.model_choice import OwnModel
from lstn.cli.steps.explain_here import ExplainRequest, explain_here
from lstn.explanation.methods import Method


def explain(
    file: Annotated[
        Path,
        typer.Argument(
            callback=from_zoo,
            metavar="FILE",
            help="A run's folder, a checkpoint, model.onnx, model.plan or model.xml; or zoo:NAME.",
        ),
    ],
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, folders with images at any depth, globs, .txt lists and URLs.", metavar="PATH"),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Write index.html, explain.json and a picture for each image there.")
    ] = Path("explained"),
    method: Annotated[
        list[Method] | None,
        typer.Option(
            metavar="occlusion|grad-cam|gradients",
            help="How maps are made; give it several times for several. occlusion works with every file, grad-cam and "
            "gradients (integrated gradients) need a checkpoint.",
            show_default="all that FILE allows; none with --features",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Side in pixels of the square that covers a part of the image.",
            show_default="a sixth of the shorter side",
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Pixels by which that square moves on.",
            show_default="three quarters of the window",
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER[:MAP]",
            help="Show the nine images that excite each feature map of this layer most, or one map by its number, and "
            "what in them does. Needs a checkpoint.",
        ),
    ] = None,
    device: DeviceName = "auto",
    model: OwnModel = None,
) -> None:
    """Show what moves a model's answer.

    Draws maps on each image: what moves the label, and what moves the warp, in pixels. An image that cannot be read is
    named, the others go on, and the exit code is 1.
    """
    asked = ExplainRequest(
        out=out, methods=method, window=window, stride=stride, features=features, device=device, model=model
    )
    explain_here(file, paths, asked)
