"""`lstn calibrate`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.calibrate_report import compare_speed, show
from lstn.cli.export_run import export_onnx
from lstn.errors import UsageError
from lstn.formats.outputs import ONNX, OutputFile, check_outputs
from lstn.health.run_files import checkpoint_of
from lstn.precision import Precision, RangeMethod
from lstn.waiting import say_loading

_IMAGES = 512


def calibrate(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN|ONNX",
            help="A run's folder or a checkpoint, which is exported first, or a float32 ONNX file of lstn; the newest "
            "run under ./runs if left out.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="fp16 and int8 run everywhere; bf16 on TensorRT and OpenVINO, fp8 on TensorRT."),
    ] = Precision.INT8,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="As in lstn train: ranges come from its training images, the cost from its validation images.",
            show_default="what the model was trained on",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write.")] = Path(),
    images: Annotated[
        int, typer.Option(metavar="N", min=1, help="int8, fp8: training images to measure ranges on.")
    ] = _IMAGES,
    ranges: Annotated[
        RangeMethod, typer.Option(help="int8, fp8: what of a tensor's values is represented.")
    ] = RangeMethod.MINMAX,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="What stays in float32: localizer, head (of the localizer; it always does), or a layer or module such "
            "as backbone.layer1. Can be given several times.",
            show_default="head for fp16, else localizer",
        ),
    ] = None,
    auto: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS", min=0, help="Keep as many more layers as it takes for top-1 to fall by no more than this."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            min=0,
            help="Fail, and write nothing, if top-1 accuracy falls by more.",
            show_default="2, or two images",
        ),
    ] = None,
    max_drift_px: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            min=0,
            help="Fail, and write nothing, if more than 1 % of the warps move by more pixels.",
            show_default="2 % of the side",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write the model whatever it costs, even if more than 5 % of the answers change."),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Of the data set's splits and the images drawn.",
            show_default="the model's own; else 0 if no split depends on it",
        ),
    ] = None,
) -> None:
    """Lower the precision and report its cost.

    Writes model.PRECISION.onnx, from which lstn export builds plans, and its cost as JSON and as a page: accuracy,
    logits, and how far the warps move in pixels.
    """
    from lstn.calibration.calibrating import CalibrationSettings, calibrate, checked, lowered_outputs
    from lstn.data.trained_on import data_and_seed
    from lstn.formats.inspection import training_of

    ready = source is not None and source.suffix == ".onnx"
    if not precision.quantized and (images != _IMAGES or ranges is not RangeMethod.MINMAX):
        raise UsageError("--images and --ranges are for int8 and fp8: half precision needs no ranges")
    onnx_file = source if source is not None and ready else out / "model.onnx"
    made = [] if ready else [OutputFile(onnx_file, ONNX)]
    check_outputs(
        [*made, *lowered_outputs(onnx_file, out, precision, ranges)], inputs=[] if source is None else [source]
    )
    settings = CalibrationSettings(
        precision=precision,
        data="",
        seed=None,
        images=images,
        method=ranges,
        keep=None if keep is None else tuple(keep),
        auto=auto,
        max_drop=max_drop,
        max_drift_px=max_drift_px,
        force=force,
    )
    checkpoint = None
    if not ready:
        say_loading(f"lowering {source or 'the newest run'} to {precision.value}")
        from lstn.nn.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(checkpoint_of(source))
    training = training_of(onnx_file) if checkpoint is None else checkpoint.training
    named, drawn = data_and_seed(source, training, data, seed)
    settings = replace(settings, data=named, seed=drawn)
    if checkpoint is not None:
        checked(checkpoint.contract, checkpoint.layers, settings)
        export_onnx(checkpoint, onnx_file)
    show(calibrate(onnx_file, out, settings), settings)
    compare_speed(onnx_file, lowered_outputs(onnx_file, out, precision, ranges)[0].path, precision)
