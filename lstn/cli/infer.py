"""`lstn infer`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.infer_format import Format
from lstn.cli.parsing.infer_request import InferRequest, PaintRequest, named_images
from lstn.cli.steps.infer_here import infer_here
from lstn.cli.steps.infer_pictures import infer_pictures
from lstn.cli.steps.infer_ray import infer_on_ray
from lstn.machine.gpu import engine_device


def infer(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders with images at any depth, globs, .txt lists and URLs; or a video, stream or camera.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        Path | None,
        typer.Option(
            callback=from_zoo,
            metavar="FILE|KIND|RUN",
            help="model.onnx, model.plan or model.xml; onnx, openvino, trt or trt-rtx for the one of that kind here; "
            "a run, which is exported first; or a model that comes with lstn, such as zoo:digits.",
            show_default="the one engine here, else the newest run",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the rows there; it is whole or absent."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=1_000_000, help="Of a generator: paint so many pictures, with boxes.csv."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="With --count: paint this class, or several.", show_default="all in turn"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="With --count: of the noise.", show_default="0")
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="How rows are written.",
            show_default="by --output's suffix: .json, .jsonl, .csv or .txt; else a table on a terminal, csv in a pipe",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Labels or texts for each image, best first; of a detector, objects.",
            show_default="1; to tag or to detect, all",
        ),
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0,
            max=1,
            help="Of a model that detects or tags: leave out objects or labels that it is less sure of.",
            show_default="0.3; to tag, each label's threshold",
        ),
    ] = None,
    reject_below: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Give no label or text to an image whose best one is less probable.",
            show_default="none",
        ),
    ] = None,
    sentence: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Of a model that aligns: the words to look for.", show_default=False),
    ] = None,
    warps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Save a picture of what the transformer did to each image.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Images a call of the engine.", show_default="32, or what it takes"),
    ] = None,
    device: DeviceName = "auto",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads of ONNX Runtime or OpenVINO.", show_default="one for each core"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads that decode images.", show_default="up to 8")
    ] = None,
    truncated: Annotated[
        Literal["read", "refuse"],
        typer.Option(help="JPEGs that end early: refuse them, or read them with gray for what is missing."),
    ] = "refuse",
    max_megapixels: Annotated[
        float, typer.Option(metavar="N", min=0.001, max=100_000, help="Refuse images of more million pixels.")
    ] = 100,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, help="Of a video: leave out frames in between.", show_default="every frame"
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on this Ray cluster, or on one started here: local. A second run completes the rows in --out.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --ray or --count: where to write.", show_default=False)
    ] = None,
) -> None:
    """Classify, tag, read, search or paint images.

    Prints a row for each image, in the order given. An image that cannot be read becomes a row with its error, the
    others go on, and the exit code is 1. JSON keeps every file name exactly; CSV and tables escape control characters.
    With --count a generator paints pictures instead, into a folder that --data folder:DIR reads.
    """
    from lstn.images import DecodeLimits

    asked = InferRequest(
        engine=engine,
        output=output,
        out=out,
        format_=format_,
        top=top,
        score=score,
        sentence=sentence,
        reject_below=reject_below,
        warps=warps,
        batch=batch,
        device=engine_device(device),
        threads=threads,
        workers=workers,
        every=every,
        limits=DecodeLimits(max_pixels=round(max_megapixels * 1e6), truncated=truncated == "read"),
    )
    if (painting := PaintRequest(count, tuple(label or ()), seed)).asked:
        infer_pictures(painting, asked, [*(paths or ()), *([ray] if ray else [])])
    elif ray is None:
        infer_here(named_images(paths), asked)
    else:
        infer_on_ray(ray, named_images(paths), asked)
