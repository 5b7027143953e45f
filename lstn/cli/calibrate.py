"""`lstn calibrate`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.calibrate_report import compare_speed, show
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.formats.outputs import ONNX, OutputFile, check_folder, check_outputs
from lstn.health.run_files import checkpoint_of
from lstn.precision import Precision, RangeMethod
from lstn.waiting import say_loading

if TYPE_CHECKING:
    from lstn.calibration.calibrating import CalibrationSettings
    from lstn.formats.training_record import Training


def calibrate(
    source: Annotated[
        Path | None,
        typer.Argument(
            callback=from_zoo,
            metavar="RUN|ONNX",
            help="A run's folder or a checkpoint, which is exported first; a float32 ONNX file of lstn; or zoo:NAME. "
            "The newest run under ./runs if left out.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16 and int8 run everywhere, bf16 on TensorRT and OpenVINO, fp8 on TensorRT. Those with -fp16 have "
            "float16 between their layers, for TensorRT."
        ),
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
        int, typer.Option(metavar="N", min=1, help="In 8 bits: training images to measure ranges on.")
    ] = 512,
    ranges: Annotated[
        RangeMethod, typer.Option(help="In 8 bits: what of a tensor's values is represented.")
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
            metavar="POINTS",
            min=0,
            help="Keep as many more layers as it takes for top-1, or a detector's AP, to fall by no more than this.",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            min=0,
            help="Fail, and write nothing, if top-1 accuracy, or a detector's AP, falls by more.",
            show_default="2, or two images or objects",
        ),
    ] = None,
    max_drift_px: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            min=0,
            help="Fail, and write nothing, if more than 1 % of the warps, or of found objects, move by more pixels.",
            show_default="2 % of the side; of a detector none",
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

    Writes model.PRECISION.onnx, from which lstn export builds plans, and its cost as JSON and as a page: accuracy, or
    average precision, logits, and how far the warps move in pixels.
    """
    from lstn.calibration.calibrating import CalibrationSettings

    settings = CalibrationSettings(
        precision=precision,
        data=data or "",
        seed=seed,
        images=images,
        method=ranges,
        keep=None if keep is None else tuple(keep),
        auto=auto,
        max_drop=max_drop,
        max_drift_px=max_drift_px,
        force=force,
    )
    settings.check()
    _lower(source, out, settings)


def _lower(source: Path | None, out: Path, settings: "CalibrationSettings") -> None:
    """Lower an ONNX file, or a run that is exported first; both bring their own data and seed."""
    from lstn.calibration.calibrating import calibrate, lowered_outputs
    from lstn.formats.inspection import training_of

    ready = source is not None and source.suffix == ".onnx"
    onnx_file = source if source is not None and ready else out / "model.onnx"
    lowered = lowered_outputs(onnx_file, out, settings.precision, settings.method)
    made = [] if ready else [OutputFile(onnx_file, ONNX)]
    check_folder("--out", out)
    check_outputs([*made, *lowered], inputs=[] if source is None else [source])
    settings = _with_data(settings, source, training_of(onnx_file)) if ready else _export(source, onnx_file, settings)
    show(calibrate(onnx_file, out, settings), settings)
    compare_speed(onnx_file, lowered[0].path, settings.precision)


def _export(source: Path | None, onnx_file: Path, settings: "CalibrationSettings") -> "CalibrationSettings":
    """Export a run, and return the settings with the data and seed that it was trained with, where none are given."""
    say_loading(f"lowering {source or 'the newest run'} to {settings.precision.value}")
    from lstn.calibration.calibrating import checked_settings
    from lstn.export.onnx.from_checkpoint import export_checkpoint
    from lstn.nn.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(checkpoint_of(source))
    settings = _with_data(settings, source, checkpoint.training)
    checked_settings(checkpoint.contract, checkpoint.layers, settings)
    export_checkpoint(checkpoint, onnx_file, tell=typer.echo)
    return settings


def _with_data(
    settings: "CalibrationSettings", source: Path | None, training: "Training | None"
) -> "CalibrationSettings":
    from lstn.data.trained_on import data_and_seed

    data, seed = data_and_seed(source, training, settings.data or None, settings.seed)
    return replace(settings, data=data, seed=seed)
