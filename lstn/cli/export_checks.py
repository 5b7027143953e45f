"""Checks of `lstn export` before anything is made."""

from enum import Enum
from pathlib import Path

from lstn.errors import UsageError
from lstn.formats.inspection import training_of
from lstn.formats.outputs import LOG, ONNX, SCRIPT, OutputFile, openvino_outputs, plan_outputs
from lstn.formats.plan_file import Flavour
from lstn.precision import Precision, RangeMethod


class ExportFormat(str, Enum):
    """What to make of a checkpoint."""

    ONNX = "onnx"
    TRT = Flavour.TRT.value
    TRT_RTX = Flavour.TRT_RTX.value
    OPENVINO = "openvino"


class Sampler(str, Enum):
    """How the sampler is written into model.onnx. The names are of whoever computes it."""

    NATIVE = "native"
    FUSED = "fused"


_RUNS = {
    ExportFormat.ONNX: (Precision.FP16, Precision.INT8),
    ExportFormat.TRT: tuple(Precision),
    ExportFormat.TRT_RTX: tuple(Precision),
    ExportFormat.OPENVINO: (Precision.FP16, Precision.BF16, Precision.INT8),
}
"""Which lower precisions an engine has kernels for, or at least runs."""

_SERVED = (ExportFormat.ONNX, ExportFormat.TRT)
"""What Triton has a back end for, as lstn writes it."""

_FIRST_FP8 = 89


def refuse_run(run: Path | None, engine: ExportFormat, sampler: Sampler, triton: Path | None) -> None:
    """Refuse a RUN that is a plan, or an ONNX file of which nothing is left to be made."""
    if run is not None and run.suffix == ".plan":
        raise UsageError(
            f"{run} is a plan already, and nothing can be made of one",
            hint=f"run it with: lstn infer images/ --engine {run}; or name the run or the ONNX file that it is from",
        )
    ready = run is not None and run.suffix == ".onnx"
    if ready and engine is ExportFormat.ONNX and triton is None:
        raise UsageError(
            f"{run} is an ONNX file already", hint=f"build a plan of it with: lstn export {run} --engine trt"
        )
    if sampler is Sampler.FUSED and (ready or engine is ExportFormat.OPENVINO):
        why = f"{run} has its sampler already" if ready else "OpenVINO knows no operator but ONNX's own"
        raise UsageError(f"--sampler fused: {why}", hint="leave it out" if ready else "use --sampler native")


def refuse_precision(precision: Precision, engine: ExportFormat, targets: tuple[str, ...], run: Path | None) -> None:
    """Refuse what the engine can't run, or what can't be lowered here."""
    if run is not None and run.suffix == ".onnx" and training_of(run) is None:
        raise UsageError(
            f"--precision: {run} doesn't say what it was trained on",
            hint=f"use: lstn calibrate {run} --precision {precision.value} --data digits, or --data folder:PATH",
        )
    if precision not in _RUNS[engine]:
        takers = [other.value for other in ExportFormat if precision in _RUNS[other]]
        raise UsageError(
            f"--engine {engine.value} doesn't run {precision.value}", hint=f"these do: --engine {' or '.join(takers)}"
        )
    if precision is Precision.FP8 and (old := [target for target in targets if int(target[2:]) < _FIRST_FP8]):
        raise UsageError(
            f"{', '.join(old)} has no fp8, which came with sm{_FIRST_FP8}", hint="use --precision int8 for it"
        )


def refuse_elsewhere(engine: ExportFormat, triton: Path | None, build_log: Path | None, *, script: bool) -> None:
    """Refuse a script or a repository for an engine that has none, and a script together with what needs the plan."""
    if script and engine is not ExportFormat.TRT:
        raise UsageError("--script is for --engine trt, whose trtexec it calls", hint="use --engine trt")
    if script and build_log is not None:
        raise UsageError(
            "--build-log is for a build here; the script shows its own", hint="run it with --verbose for all of it"
        )
    if script and triton is not None:
        raise UsageError(
            "--triton needs the plan itself, and --script leaves it to the device",
            hint="run lstn export --engine trt --triton there, or serve the ONNX file: --engine onnx --triton",
        )
    if triton is not None and engine not in _SERVED:
        takers = " or ".join(each.value for each in _SERVED)
        raise UsageError(f"--triton: Triton runs no model of --engine {engine.value}", hint=f"use --engine {takers}")


def refuse_force(precision: Precision | None, *, force: bool) -> None:
    """Refuse --force where nothing is lowered."""
    if force and precision is None:
        raise UsageError("--force is for --precision, which is checked against float32", hint="leave it out")


def refuse_out(run: Path | None, out: Path | None, engine: ExportFormat, *, script: bool) -> None:
    """Refuse a folder for the results where nothing is written into it."""
    if out is None or run is None or run.suffix != ".onnx" or not (script or engine is ExportFormat.ONNX):
        return
    what = "a script is next to the ONNX file that it builds from" if script else "only the repository is written"
    raise UsageError(f"--out {out}: {what}", hint=f"leave out --out, or copy {run} there first")


def export_outputs(
    onnx_file: Path,
    out: Path,
    engine: ExportFormat,
    precision: Precision | None,
    build_log: Path | None,
    *,
    ready: bool,
    script: bool,
) -> list[OutputFile]:
    """Return all files that `lstn export` is going to write. ready: there is the ONNX file already."""
    outputs = [] if ready else [OutputFile(onnx_file, ONNX)]
    stem = onnx_file.stem
    if precision is not None:
        from lstn.calibration.calibrating import lowered_outputs

        outputs += lowered_outputs(onnx_file, out, precision, RangeMethod.MINMAX)
        stem = outputs[1].path.stem
    if build_log is not None:
        outputs.append(OutputFile(build_log, LOG, "--build-log"))
    if script:
        return [*outputs, OutputFile(onnx_file.with_name(f"{stem}.trtexec.sh"), SCRIPT)]
    if engine is ExportFormat.OPENVINO:
        return [*outputs, *openvino_outputs(out / f"{stem}.xml")]
    return outputs if engine is ExportFormat.ONNX else [*outputs, *plan_outputs(out / f"{stem}.plan")]
