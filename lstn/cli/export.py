"""`lstn export`."""

from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.model_choice import OwnModel
from lstn.cli.parsing.old_spellings import renamed
from lstn.cli.steps.export_steps import build_engine, check_writable_outputs, finish_onnx, make_onnx
from lstn.formats.engine_kind import EngineKind, Sampler
from lstn.precision import Precision


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            callback=from_zoo,
            metavar="RUN",
            help="A run's folder or a checkpoint; the newest run under ./runs if left out. "
            "From an ONNX file of lstn, only the files for the engine are made. zoo:NAME is copied first.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        EngineKind,
        typer.Option(
            help="The kind of engine: model.onnx alone, or also a plan for TensorRT (on its GPU) or TensorRT for RTX, "
            "or model.xml for OpenVINO (on a CPU). lstn infer and serve take the same words."
        ),
    ] = EngineKind.ONNX,
    model: OwnModel = None,
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
    batch_profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MIN,OPT,MAX",
            help="Batch sizes of the plan; once more for a profile with kernels of its own, such as 1,1,1 and 2,8,32.",
            show_default="1,8,32",
        ),
    ] = None,
    batch: Annotated[
        list[str] | None, typer.Option(metavar="MIN,OPT,MAX", hidden=True, help="As --batch-profile.")
    ] = None,
    level: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, max=5, help="How to build: from 0, built fastest, to 5, runs fastest.", show_default="3"
        ),
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
    tf32: Annotated[
        bool,
        typer.Option("--tf32", help="trt, trt-rtx: multiply float32 in TF32: faster, with ten bits of fraction."),
    ] = False,
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
    from lstn.export.export_request import ExportRequest, look_ahead
    from lstn.export.tensorrt.builder_flags import Tuning

    tuning = Tuning(
        workspace_mib=workspace,
        level=level,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
        dla_core=dla,
        tf32=tf32,
    )
    asked = ExportRequest(
        run=run, engine=engine, precision=precision, sampler=sampler, force=force, script=script, out=out, triton=triton
    )
    if batch:
        renamed("--batch", "--batch-profile")
    settings, obstacle = look_ahead(asked, [*(batch_profile or ()), *(batch or ())], target, tuning, build_log)
    check_writable_outputs(asked, build_log)
    onnx_file, training = make_onnx(asked, model)
    if engine is EngineKind.ONNX or script:
        finish_onnx(asked, onnx_file, settings)
    else:
        build_engine(asked, onnx_file, training, settings, obstacle)
