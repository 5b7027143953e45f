"""The request of an export, and the refusals that come before anything is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import LstnError, UsageError
from lstn.export.tensorrt.builder_flags import BuildSettings, Tuning, check_tuning
from lstn.export.tensorrt.targets import choose_targets
from lstn.export.tensorrt.to_plan import parse_batches, parse_targets
from lstn.export.triton.to_triton import check_profiles
from lstn.formats.engine_kind import EngineKind, Sampler
from lstn.formats.inspection import training_of
from lstn.precision import Precision
from lstn.zoo.named_models import is_in_zoo

DEFAULT_BATCH = "1,8,32"

_RUNS = {
    EngineKind.ONNX: (Precision.FP16, Precision.INT8),
    EngineKind.TRT: tuple(Precision),
    EngineKind.TRT_RTX: tuple(Precision),
    EngineKind.OPENVINO: (Precision.FP16, Precision.BF16, Precision.INT8),
}
"""Which lower precisions an engine has kernels for, or at least runs."""

_SERVED = (EngineKind.ONNX, EngineKind.TRT)
"""What Triton has a back end for, as lstn writes it."""

_FIRST_FP8 = 89


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What `lstn export` was asked for.

    run:    a run, a checkpoint, or an ONNX file of which only the files for the engine are made; None: the newest run
    out:    the folder to write to; None: the current one
    triton: a model repository that gets the model too
    script: a script for trtexec in the place of the plan
    """

    run: Path | None
    engine: EngineKind
    precision: Precision | None
    sampler: Sampler
    force: bool
    script: bool
    out: Path | None
    triton: Path | None

    @property
    def ready(self) -> bool:
        """Whether there is the ONNX file already."""
        return self.run is not None and self.run.suffix == ".onnx"

    @property
    def writes_onnx(self) -> bool:
        """Whether an ONNX file is written: of a run, or a copy of a model that comes with lstn."""
        return not self.ready or (self.run is not None and is_in_zoo(self.run))

    @property
    def folder(self) -> Path:
        """Where to write."""
        return self.out or Path()

    @property
    def onnx_file(self) -> Path:
        """The float32 ONNX file from which everything is made."""
        if self.run is None or not self.ready:
            return self.folder / "model.onnx"
        return self.folder / self.run.name if self.writes_onnx else self.run


def look_ahead(
    asked: ExportRequest, batch: Sequence[str], target: str, tuning: Tuning, build_log: Path | None
) -> tuple[BuildSettings | None, LstnError | None]:
    """Return the settings of a build, if a plan is asked for, and what this machine lacks for it.

    The latter is no reason to stop yet. With a script the plan is built on another machine, of which nothing is known.

    Raises:
        UsageError: what is asked for makes no sense, alone or with this engine or GPU.
    """
    flavour = asked.engine.flavour
    if flavour is None and (batch or target or build_log is not None or tuning != Tuning()):
        raise UsageError(
            "--batch-profile, --target and the options of a build are for plans; model.onnx takes any batch",
            hint="use --engine trt or trt-rtx",
        )
    _refuse_elsewhere(asked, build_log)
    settings, obstacle = None, None
    if flavour is not None:
        profiles, targets = parse_batches(batch or [DEFAULT_BATCH]), parse_targets(target)
        try:
            targets = () if asked.script and not targets else choose_targets(flavour, targets)
        except UsageError:
            raise
        except LstnError as error:
            obstacle = error
        settings = BuildSettings(flavour=flavour, profiles=profiles, targets=targets, tuning=tuning, log_file=build_log)
        check_tuning(settings)
        if asked.triton is not None:
            check_profiles(settings.profiles)
    _refuse_precision(asked, () if settings is None else settings.targets)
    _refuse_run(asked)
    _refuse_out(asked)
    return settings, obstacle


def _refuse_elsewhere(asked: ExportRequest, build_log: Path | None) -> None:
    """Refuse a script or a repository for an engine that has none, and a script together with what needs the plan."""
    engine, triton = asked.engine, asked.triton
    if asked.script and engine is not EngineKind.TRT:
        raise UsageError("--script is for --engine trt, whose trtexec it calls", hint="use --engine trt")
    if asked.script and build_log is not None:
        raise UsageError(
            "--build-log is for a build here; the script shows its own", hint="run it with --verbose for all of it"
        )
    if asked.script and triton is not None:
        raise UsageError(
            "--triton needs the plan itself, and --script leaves it to the device",
            hint="run lstn export --engine trt --triton there, or serve the ONNX file: --engine onnx --triton",
        )
    if triton is not None and engine not in _SERVED:
        takers = " or ".join(each.value for each in _SERVED)
        raise UsageError(f"--triton: Triton runs no model of --engine {engine.value}", hint=f"use --engine {takers}")


def _refuse_precision(asked: ExportRequest, targets: tuple[str, ...]) -> None:
    """Refuse what the engine can't run, what can't be lowered here, and --force where nothing is lowered."""
    precision, engine = asked.precision, asked.engine
    if precision is None:
        if asked.force:
            raise UsageError("--force is for --precision, which is checked against float32", hint="leave it out")
        return
    if asked.run is not None and asked.ready and training_of(asked.run) is None:
        raise UsageError(
            f"--precision: {asked.run} doesn't say what it was trained on",
            hint=f"use: lstn calibrate {asked.run} --precision {precision.value} --data digits, or --data folder:PATH",
        )
    if precision not in _RUNS[engine]:
        takers = [other.value for other in EngineKind if precision in _RUNS[other]]
        raise UsageError(
            f"--engine {engine.value} doesn't run {precision.value}", hint=f"these do: --engine {' or '.join(takers)}"
        )
    if precision.float8 and (old := [target for target in targets if int(target[2:]) < _FIRST_FP8]):
        raise UsageError(
            f"{', '.join(old)} has no fp8, which came with sm{_FIRST_FP8}", hint="use --precision int8 for it"
        )


def _refuse_run(asked: ExportRequest) -> None:
    """Refuse a RUN that is a plan, or an ONNX file of which nothing is left to be made."""
    run, engine = asked.run, asked.engine
    if run is not None and run.suffix == ".plan":
        raise UsageError(
            f"{run} is a plan already, and nothing can be made of one",
            hint=f"run it with: lstn infer images/ --engine {run}; or name the run or the ONNX file that it is from",
        )
    if not asked.writes_onnx and engine is EngineKind.ONNX and asked.triton is None:
        raise UsageError(
            f"{run} is an ONNX file already", hint=f"build a plan of it with: lstn export {run} --engine trt"
        )
    if asked.sampler is Sampler.FUSED and (asked.ready or engine is EngineKind.OPENVINO):
        why = f"{run} has its sampler already" if asked.ready else "OpenVINO knows no operator but ONNX's own"
        raise UsageError(f"--sampler fused: {why}", hint="leave it out" if asked.ready else "use --sampler native")


def _refuse_out(asked: ExportRequest) -> None:
    """Refuse a folder for the results where nothing is written into it."""
    if asked.out is None or asked.writes_onnx or not (asked.script or asked.engine is EngineKind.ONNX):
        return
    script = "a script is next to the ONNX file that it builds from"
    what = script if asked.script else "only the repository is written"
    raise UsageError(f"--out {asked.out}: {what}", hint=f"leave out --out, or copy {asked.run} there first")
