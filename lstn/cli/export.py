"""`lstn export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.calibrate_report import compare_speed, show
from lstn.cli.export_checks import (
    ExportFormat,
    Sampler,
    export_outputs,
    refuse_elsewhere,
    refuse_force,
    refuse_out,
    refuse_precision,
    refuse_run,
)
from lstn.cli.export_elsewhere import export_script, export_triton, refuse_gaps
from lstn.cli.export_plan import export_plan, look_ahead
from lstn.cli.export_run import export_onnx
from lstn.errors import LstnError, UsageError
from lstn.formats.inspection import training_of
from lstn.formats.outputs import check_folder, check_outputs
from lstn.formats.plan_file import Flavour
from lstn.health.run_files import checkpoint_of
from lstn.precision import Precision
from lstn.terminal import file_size, note, warn
from lstn.waiting import say_loading, working

if TYPE_CHECKING:
    from lstn.calibration.calibrating import CalibrationSettings
    from lstn.formats.training_record import Training

_DEFAULT_BATCH = "1,8,32"


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run's folder or a checkpoint; the newest run under ./runs if left out. "
            "From an ONNX file of lstn, only the files for the engine are made.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        ExportFormat,
        typer.Option(
            help="model.onnx alone, or also a plan for TensorRT (on its GPU) or TensorRT for RTX, or model.xml for "
            "OpenVINO (on a CPU)."
        ),
    ] = ExportFormat.ONNX,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Lower it on the way, as lstn calibrate does by default, on the data that the run was trained on.",
            show_default="fp32",
        ),
    ] = None,
    sampler: Annotated[
        Sampler,
        typer.Option(
            help="Who samples: native is ONNX's own GridSample, which every engine has; fused is one node for grid and "
            "sampler, which TensorRT 10.9 and later computes in one kernel, and ONNX Runtime as it would the others."
        ),
    ] = Sampler.NATIVE,
    force: Annotated[
        bool,
        typer.Option("--force", help="Keep what --precision makes, even if it answers otherwise than float32."),
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write.", show_default=".")] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="onnx, trt: also add the model to this model repository of the Triton Inference Server.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MIN,OPT,MAX",
            help="Batch sizes of the plan; once more for a profile with kernels of its own, such as 1,1,1 and 2,8,32.",
            show_default=_DEFAULT_BATCH,
        ),
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(min=0, max=5, help="How to build: from 0, built fastest, to 5, runs fastest.", show_default="3"),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            metavar="MIB",
            min=1,
            max=1 << 20,
            help="The most memory that one layer of the plan may use on the side.",
            show_default="all",
        ),
    ] = None,
    build_log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all that TensorRT says of the build there.", show_default=False),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="SM,…",
            help="trt-rtx: compute capabilities to build for, such as sm86,sm89; no GPU is needed then.",
            show_default="this machine's GPU",
        ),
    ] = "",
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="trt: for any GPU from Ampere on, at some cost in speed.")
    ] = False,
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="trt: for newer versions of TensorRT too; holds code for the CPU."),
    ] = False,
    dla: Annotated[
        int | None,
        typer.Option(
            metavar="CORE",
            min=0,
            help="trt on a Jetson: the DLA core that takes the layers it can; the GPU takes the rest.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[
        bool,
        typer.Option(
            "--script",
            help="trt: instead of the plan, write model.trtexec.sh next to model.onnx, which builds it with NVIDIA's "
            "trtexec, on a device without Python; neither a GPU nor TensorRT is needed here.",
        ),
    ] = False,
) -> None:
    """Write model.onnx, a plan or OpenVINO files.

    model.onnx is verified against PyTorch before it is saved. A plan is model.plan with model.plan.json, an OpenVINO
    model is model.xml with model.bin. If these cannot be built here, model.onnx is written all the same.
    """
    from lstn.export.tensorrt.tuning import Tuning

    flavour = None if engine in (ExportFormat.ONNX, ExportFormat.OPENVINO) else Flavour(engine.value)
    tuning = Tuning(
        workspace_mib=workspace,
        level=level,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        dla_core=dla,
    )
    if flavour is None and (batch or target or build_log is not None or tuning != Tuning()):
        raise UsageError(
            "--batch, --target and the options of a build are for plans; model.onnx takes any batch",
            hint="use --engine trt or trt-rtx",
        )
    refuse_elsewhere(engine, triton, build_log, script=script)
    settings, obstacle = None, None
    if flavour is not None:
        batches = batch or [_DEFAULT_BATCH]
        settings, obstacle = look_ahead(flavour, batches, target, tuning, build_log, elsewhere=script)
        if triton is not None:
            refuse_gaps(settings.profiles)
    if precision is not None:
        refuse_precision(precision, engine, () if settings is None else settings.targets, run)
    refuse_run(run, engine, sampler, triton)
    refuse_force(precision, force=force)
    ready = run is not None and run.suffix == ".onnx"
    refuse_out(run, out, engine, script=script)
    out = out or Path()
    onnx_file = run if run is not None and ready else out / "model.onnx"
    check_outputs(
        export_outputs(onnx_file, out, engine, precision, build_log, ready=ready, script=script),
        inputs=[] if run is None else [run],
    )
    if triton is not None:
        check_folder("--triton", triton)
    if ready:
        training, lowering = training_of(onnx_file), None
        if training is not None and precision is not None:
            lowering = _lowering(precision, training, force=force)
    else:
        training, lowering = _export_run(run, onnx_file, precision, fused=sampler is Sampler.FUSED, force=force)
    float32_file = onnx_file
    if lowering is not None:
        onnx_file = _lower(onnx_file, out, lowering)
    if engine is ExportFormat.ONNX or script:
        if precision is not None and not script:
            compare_speed(float32_file, onnx_file, precision)
        if settings is not None:  # --script
            export_script(onnx_file, settings)
        elif triton is not None:
            export_triton(onnx_file, triton)
        _warn_of_stale(out, onnx_file)
        return
    made = out / f"{onnx_file.stem}.{'xml' if settings is None else 'plan'}"
    try:
        if obstacle is not None:
            raise obstacle
        if settings is None:
            _export_openvino(onnx_file, made, training)
            if precision is not None:
                compare_speed(float32_file, made, precision)
        else:
            export_plan(onnx_file, made, settings)
    except KeyboardInterrupt:
        note(f"stopped; {onnx_file} is whole, and a {made} from before is as it was")
        _warn_of_stale(out, onnx_file)
        raise typer.Exit(130) from None
    except LstnError as error:
        _warn_of_stale(out, onnx_file)
        if ready and lowering is None:
            raise
        instead = f"run it here with: lstn infer images/ --engine {onnx_file}"
        hint = f"{instead}; {error.hint}" if error.hint else instead
        raise type(error)(f"{onnx_file} is written and checked; {error.message}", hint=hint) from error
    if triton is not None:
        export_triton(made, triton)


def _export_run(
    run: Path | None, onnx_file: Path, precision: Precision | None, *, fused: bool, force: bool
) -> tuple["Training", "CalibrationSettings | None"]:
    """Export a run, and return what it was trained on, and how it is to be lowered, which is checked first."""
    say_loading(f"exporting {run or 'the newest run'}")
    from lstn.nn.checkpoint import load_checkpoint

    checkpoint, settings = load_checkpoint(checkpoint_of(run)), None
    training = checkpoint.training
    if precision is not None:
        from lstn.calibration.calibrating import checked

        settings = _lowering(precision, training, force=force)
        checked(checkpoint.contract, checkpoint.layers, settings)
    export_onnx(checkpoint, onnx_file, fused=fused)
    return training, settings


def _lowering(precision: Precision, training: "Training", *, force: bool) -> "CalibrationSettings":
    from lstn.calibration.calibrating import CalibrationSettings

    return CalibrationSettings(precision=precision, data=training.data, seed=training.seed, force=force)


def _lower(onnx_file: Path, out: Path, settings: "CalibrationSettings") -> Path:
    from lstn.calibration.calibrating import calibrate

    made = calibrate(onnx_file, out, settings)
    show(made, settings)
    return made.onnx


def _export_openvino(onnx_file: Path, xml: Path, training: "Training | None") -> None:
    """Compare on images that the model was trained on; an ONNX file of lstn 0.1, which doesn't say, gets digits."""
    from lstn.export.onnx.verify_onnx import sample_images
    from lstn.export.openvino.to_openvino import write_openvino
    from lstn.formats.onnx_file import read_model
    from lstn.formats.openvino_file import bin_path

    data, seed = ("digits", 0) if training is None else (training.data, training.seed)
    images = sample_images(data, read_model(onnx_file)[0].image_hw, seed=seed)
    with working(f"writing {xml} and comparing"):
        record, agreement = write_openvino(onnx_file, xml, images)
    what = f"OpenVINO {record.version.partition('-')[0]}, {record.precision}"
    kind = "images" if training else "embedded digits, because its own images are not known,"
    typer.echo(f"{xml}  {file_size(xml)}  {what}, {agreement.images} {kind} against {onnx_file.name}: {agreement}")
    weights = bin_path(xml)
    typer.echo(f"{weights}  {file_size(weights)}  the weights of {xml.name}; keep the two together")


def _warn_of_stale(out: Path, onnx_file: Path) -> None:
    """An older plan stays, since it may be in use and what built it may be far away; but not in silence."""
    from lstn.export.openvino import to_openvino
    from lstn.export.tensorrt import to_plan

    plan, xml = (out / f"{onnx_file.stem}.{suffix}" for suffix in ("plan", "xml"))
    for made, is_stale in ((plan, to_plan.is_stale), (xml, to_openvino.is_stale)):
        if onnx_file.is_file() and is_stale(made, onnx_file):
            warn(f"{made} was built from another model than {onnx_file}; build it again, or remove it")
