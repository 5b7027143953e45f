"""`lstn calibrate`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.errors import UsageError
from lstn.precision import Precision, RangeMethod
from lstn.terminal import file_size, note

if TYPE_CHECKING:
    from rich.console import Console

    from lstn.calibration.calibrating import Calibrated, CalibrationSettings
    from lstn.calibration.sensitivity import Outcome

_PIPE_WIDTH = 100
_IMAGES = 512
_MOST_NAMED = 8
_WITHOUT_ONNX_RUNTIME = {Precision.BF16: "TensorRT and OpenVINO", Precision.FP8: "TensorRT"}


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
            show_default="the run's",
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
        typer.Option(metavar="POINTS", min=0, help="Fail, and write nothing, if top-1 accuracy falls by more."),
    ] = None,
    max_drift_px: Annotated[
        float | None,
        typer.Option(
            metavar="PX", min=0, help="Fail, and write nothing, if more than 1 % of the warps move by more pixels."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Of the data set's splits and the images drawn.",
            show_default="the run's; else 0 if no split hangs on it",
        ),
    ] = None,
) -> None:
    """Lower a model's precision, and say what that costs: accuracy, logits, and how far the warps move in pixels.

    Writes model.PRECISION.onnx, from which lstn export builds plans, and its cost beside it as JSON and as a page.
    """
    from lstn.calibration.calibrating import CalibrationSettings, calibrate

    ready = source is not None and source.suffix == ".onnx"
    if ready and data is None:
        raise UsageError(
            f"{source} doesn't say what it was trained on", hint="add --data digits, or --data folder:PATH"
        )
    if not precision.quantized and (images != _IMAGES or ranges is not RangeMethod.MINMAX):
        raise UsageError("--images and --ranges are for int8 and fp8: half precision needs no ranges")
    onnx_file = source if source is not None and ready else None
    if onnx_file is None:
        from lstn.cli.export import checkpoint_of, export_onnx

        onnx_file = out / "model.onnx"
        training = export_onnx(checkpoint_of(source), onnx_file)
        data = training.data if data is None else data
        seed = training.seed if seed is None else seed
    settings = CalibrationSettings(
        precision=precision,
        data=str(data),
        seed=seed,
        images=images,
        method=ranges,
        keep=None if keep is None else tuple(keep),
        auto=auto,
        max_drop=max_drop,
        max_drift_px=max_drift_px,
    )
    show(calibrate(onnx_file, out, settings), settings)


def show(made: "Calibrated", settings: "CalibrationSettings") -> None:
    """Print what a calibration cost, how its layers were chosen, and what it wrote."""
    from rich.console import Console

    from lstn.calibration.cost_report import print_costs

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    if made.search is not None:
        _print_search(console, made.search, made, settings)
    print_costs(console, {settings.precision.value: made.cost})
    kept = ", ".join(_named(made.kept, made.layers)) or "nothing"
    console.print(f"kept in float32: {kept}", markup=False, soft_wrap=True)
    for path in (made.onnx, made.json, made.html):
        typer.echo(f"{path}  {file_size(path)}")
    if (takers := _WITHOUT_ONNX_RUNTIME.get(settings.precision)) is not None:
        note(
            f"{settings.precision.value} was measured by rounding in float32, since ONNX Runtime has no kernels for "
            f"it; {made.onnx} is for {takers}: lstn export {made.onnx} --engine …"
        )


def _print_search(console: "Console", search: "Outcome", made: "Calibrated", settings: "CalibrationSettings") -> None:
    """The path that --auto took."""
    for layer, noise in list(search.noise.items())[:_MOST_NAMED]:
        console.print(f"alone, {layer} adds noise of {noise:.2e} of the logits' power", markup=False)
    for step in search.steps:
        kept = ", ".join(_named(step.kept, made.layers)) or "nothing more"
        console.print(f"keeping {kept}: {-step.drop:+.2f} points of top-1", markup=False, soft_wrap=True)
    console.print(f"--auto {settings.auto:g}: {-search.drop:+.2f} points", markup=False)


def _named(kept: Iterable[str], layers: tuple[str, ...]) -> list[str]:
    """Name layers in order of computation: a whole localizer or head as one, and a long list's rest by its number."""
    from lstn.formats.node_names import HEAD, ModelPart, part_of

    left, names = set(kept), []
    for whole, members in (
        ("the localizer", {layer for layer in layers if part_of(layer) is ModelPart.LOCALIZER}),
        ("the localizer's head", {layer for layer in layers if layer.startswith(f"{HEAD}.")}),
    ):
        if members and members <= left:
            names.append(whole)
            left -= members
    names += [layer for layer in layers if layer in left]
    more = len(names) - _MOST_NAMED
    return names if more <= 0 else [*names[:_MOST_NAMED], f"{more} more"]
