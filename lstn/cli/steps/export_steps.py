"""Steps of `lstn export` after its options: model.onnx, what is made of it, and what is said of each file."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lstn.cli.display.calibrate_report import compare_speed, show
from lstn.cli.display.screen import phases
from lstn.contract import Task, check_task
from lstn.errors import LstnError, UsageError
from lstn.files import write_bytes
from lstn.formats.engine_kind import EngineKind, Sampler
from lstn.formats.inspection import training_of
from lstn.formats.onnx_file import read_model
from lstn.formats.outputs import (
    LOG,
    ONNX,
    SCRIPT,
    OutputFile,
    check_folder,
    check_outputs,
    openvino_outputs,
    plan_outputs,
)
from lstn.formats.plan_file import sidecar_path
from lstn.health.run_files import checkpoint_of
from lstn.precision import RangeMethod
from lstn.terminal import file_size, note, warn
from lstn.waiting import say_loading, working
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.calibration.calibrating import CalibrationSettings
    from lstn.export.export_request import ExportRequest
    from lstn.export.tensorrt.builder_flags import BuildSettings
    from lstn.formats.training_record import Training


def check_writable_outputs(asked: "ExportRequest", build_log: Path | None) -> None:
    """Check, before anything is made, that all files that `lstn export` is going to write may be written."""
    outputs = [OutputFile(asked.onnx_file, ONNX)] if asked.writes_onnx else []
    stem = asked.onnx_file.stem
    if asked.precision is not None:
        from lstn.calibration.calibrating import lowered_outputs

        outputs += lowered_outputs(asked.onnx_file, asked.folder, asked.precision, RangeMethod.MINMAX)
        stem = outputs[1].path.stem
    if build_log is not None:
        outputs.append(OutputFile(build_log, LOG, "--build-log"))
    if asked.script:
        outputs.append(OutputFile(asked.onnx_file.with_name(f"{stem}.trtexec.sh"), SCRIPT))
    elif asked.engine is EngineKind.OPENVINO:
        outputs += openvino_outputs(asked.folder / f"{stem}.xml")
    elif asked.engine is not EngineKind.ONNX:
        outputs += plan_outputs(asked.folder / f"{stem}.plan")
    check_outputs(outputs, inputs=[] if asked.run is None else [asked.run])
    for option, folder in (("--out", asked.out), ("--triton", asked.triton)):
        if folder is not None:
            check_folder(option, folder)


def make_onnx(asked: "ExportRequest", backbone: str | None) -> tuple[Path, "Training | None"]:
    """Export a run, and lower it if that was asked for; return the ONNX file, and what the model was trained on.

    How it is to be lowered is checked first.

    backbone: where that of the run is made, as MODULE:FACTORY, if it is the user's own

    Raises:
        UsageError: the ONNX file is there already, and needs none.
    """
    if asked.ready and backbone is not None:
        raise UsageError(f"--model: {asked.run} holds its whole network already", hint="leave it out")
    onnx_file = asked.onnx_file
    if asked.run is not None and asked.ready:
        training = training_of(asked.run)
        check_engine(read_model(asked.run)[0].task, asked.engine)
        if asked.writes_onnx:
            write_bytes(onnx_file, asked.run.read_bytes())
            typer.echo(f"{onnx_file}  {file_size(onnx_file)}  a copy of {shown_path(asked.run)}")
        lowering = None if asked.precision is None or training is None else _lowering(asked, training)
        return onnx_file if lowering is None else _lowered(asked, lowering), training
    say_loading(f"exporting {asked.run or 'the newest run'}")
    from lstn.export.onnx.from_checkpoint import export_checkpoint
    from lstn.nn.checkpoint import load_checkpoint

    checkpoint, fused = load_checkpoint(checkpoint_of(asked.run), backbone), asked.sampler is Sampler.FUSED
    training = checkpoint.training
    if asked.triton is not None:
        check_task(checkpoint.contract.task, Task.CLASSIFY, "--triton")
    check_engine(checkpoint.contract.task, asked.engine)
    if asked.precision is None:
        export_checkpoint(checkpoint, onnx_file, fused=fused, tell=typer.echo)
        return onnx_file, training
    from lstn.calibration.calibrating import checked_settings

    settings = _lowering(asked, training)
    checked_settings(checkpoint.contract, checkpoint.layers, settings)
    export_checkpoint(checkpoint, onnx_file, fused=fused, tell=typer.echo)
    return _lowered(asked, settings), training


def check_engine(task: Task, engine: EngineKind) -> None:
    """Check that models of a task run in an engine.

    Raises:
        UsageError: they don't.
    """
    if task is Task.GENERATE and engine.flavour is not None:
        check_task(task, Task.CLASSIFY, f"--engine {engine.value}", hint="generators run as --engine onnx, or openvino")


def _lowering(asked: "ExportRequest", training: "Training") -> "CalibrationSettings":
    from lstn.calibration.calibrating import CalibrationSettings

    assert asked.precision is not None  # nothing is lowered without one
    return CalibrationSettings(precision=asked.precision, data=training.data, seed=training.seed, force=asked.force)


def _lowered(asked: "ExportRequest", settings: "CalibrationSettings") -> Path:
    from lstn.calibration.calibrating import calibrate

    made = calibrate(asked.onnx_file, asked.folder, settings)
    show(made, settings)
    return made.onnx


def finish_onnx(asked: "ExportRequest", onnx_file: Path, settings: "BuildSettings | None") -> None:
    """Make what needs no engine here: a script that builds the plan elsewhere, or Triton's copy of the ONNX file."""
    if asked.precision is not None and not asked.script:
        compare_speed(asked.onnx_file, onnx_file, asked.precision)
    if settings is not None:
        _export_script(onnx_file, settings)
    elif asked.triton is not None:
        _export_triton(onnx_file, asked.triton)
    _warn_of_stale(asked.folder, onnx_file)


def build_engine(
    asked: "ExportRequest",
    onnx_file: Path,
    training: "Training | None",
    settings: "BuildSettings | None",
    obstacle: LstnError | None,
) -> None:
    """Build a plan, or with no settings an OpenVINO model.

    obstacle: what this machine lacks for it

    Raises:
        LstnError: it can't be built here; it says that the ONNX file is there, and how that is run.
    """
    made = asked.folder / f"{onnx_file.stem}.{'xml' if settings is None else 'plan'}"
    try:
        if obstacle is not None:
            raise obstacle
        if settings is None:
            _export_openvino(onnx_file, made, training)
            if asked.precision is not None:
                compare_speed(asked.onnx_file, made, asked.precision)
        else:
            _export_plan(onnx_file, made, settings, training)
    except KeyboardInterrupt:
        note(f"stopped; {onnx_file} is whole, and a {made} from before is as it was")
        _warn_of_stale(asked.folder, onnx_file)
        raise typer.Exit(130) from None
    except LstnError as error:
        _warn_of_stale(asked.folder, onnx_file)
        if not asked.writes_onnx and asked.precision is None:
            raise
        instead = f"run it here with: lstn infer images/ --engine {onnx_file}"
        hint = f"{instead}; {error.hint}" if error.hint else instead
        raise type(error)(f"{onnx_file} is written and checked; {error.message}", hint=hint) from error
    if asked.triton is not None:
        _export_triton(made, asked.triton)


def _export_plan(onnx_file: Path, plan: Path, settings: "BuildSettings", training: "Training | None") -> None:
    from lstn.cli.steps.plan_check import PlanComparison
    from lstn.export.tensorrt.to_plan import write_plan

    check = PlanComparison(onnx_file, training)
    with phases(f"building for {', '.join(settings.targets)}") as report:
        made = write_plan(onnx_file, plan, settings, report=report, check=check)
    what = f"{made.flavour.product} {made.version}, {made.precision}, {', '.join(made.targets)}, batch {made.batches}"
    if check.agreement is not None:
        what += f", {made.compared_images} images against {onnx_file.name}: {check.agreement}"
    typer.echo(f"{plan}  {file_size(plan)}  {what}")
    sidecar = sidecar_path(plan)
    compared = f"; not compared with {onnx_file.name}, because {check.obstacle}" if check.obstacle else ""
    typer.echo(f"{sidecar}  {file_size(sidecar)}  what {plan.name} is; keep the two together{compared}")
    if (log := settings.log_file) is not None:
        typer.echo(f"{log}  {file_size(log)}  what TensorRT said of the build")


def _export_openvino(onnx_file: Path, xml: Path, training: "Training | None") -> None:
    """Compare on images that the model was trained on; an ONNX file of lstn 0.1, which doesn't say, gets digits."""
    from lstn.export.onnx.verify_onnx import sample_images
    from lstn.export.openvino.to_openvino import write_openvino
    from lstn.formats.openvino_file import bin_path
    from lstn.imaging.framing import framing_of

    data, seed = ("digits", 0) if training is None else (training.data, training.seed)
    contract = read_model(onnx_file)[0]
    images, kind = None, "pictures"
    if contract.task is not Task.GENERATE:
        framing = framing_of(contract)
        images = sample_images(data, contract.image_hw, seed=seed, task=contract.task, framing=framing)
        kind = "images" if training else "embedded digits, because its own images are not known,"
    with working(f"writing {xml} and comparing"):
        record, agreement = write_openvino(onnx_file, xml, images)
    what = f"OpenVINO {record.version.partition('-')[0]}, {record.precision}"
    typer.echo(f"{xml}  {file_size(xml)}  {what}, {agreement.images} {kind} against {onnx_file.name}: {agreement}")
    weights = bin_path(xml)
    typer.echo(f"{weights}  {file_size(weights)}  the weights of {xml.name}; keep the two together")


def _export_script(onnx_file: Path, settings: "BuildSettings") -> None:
    """Write the script that builds the plan on the device, and print what it does."""
    from lstn.export.plugin import FUSED
    from lstn.export.tensorrt.trtexec import script_path, write_script

    onnx = write_script(onnx_file, profiles=settings.profiles, tuning=settings.tuning)
    script = script_path(onnx_file)
    typer.echo(f"{script}  {file_size(script)}  builds {onnx_file.stem}.plan with trtexec; copy both to the device")
    if FUSED in onnx.operators:
        note("trtexec can't compile the fused sampler, and takes the operators that it stands for")
    if settings.tuning.dla_core is not None:  # as its source says (sampleEngines.cpp); 11 has no such flags any more
        note("trtexec of TensorRT 10 adds float16 flags for a DLA, which a typed model refuses; take that of 11.4.1")


def _export_triton(model: Path, repository: Path) -> None:
    from lstn.export.triton.to_triton import write_triton

    version = write_triton(model, repository)
    typer.echo(f"{version}  serve it with: tritonserver --model-repository={repository}")


def _warn_of_stale(out: Path, onnx_file: Path) -> None:
    """An older plan stays, since it may be in use and what built it may be far away; but not in silence."""
    from lstn.export.openvino import to_openvino
    from lstn.export.tensorrt import to_plan

    plan, xml = (out / f"{onnx_file.stem}.{suffix}" for suffix in ("plan", "xml"))
    for made, is_stale in ((plan, to_plan.is_stale_plan), (xml, to_openvino.is_stale_xml)):
        if onnx_file.is_file() and is_stale(made, onnx_file):
            warn(f"{made} was built from another model than {onnx_file}; build it again, or remove it")
