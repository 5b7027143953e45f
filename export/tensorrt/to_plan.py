"""model.onnx -> model.plan for TensorRT or TensorRT for RTX, with the sidecar that says what it is.

No torch and no onnx package is needed: TensorRT builds for the GPU that it runs on, which may be an edge device's.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from lstn.contract import Contract
from lstn.errors import ArtifactError, UsageError
from lstn.export.tensorrt.build_progress import ReportProgress
from lstn.export.tensorrt.builder import build
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings, check_tuning
from lstn.files import replacing, scratch_folder, sha256_of, write_text
from lstn.formats.onnx_file import read_model
from lstn.formats.outputs import LOG, OutputFile, check_outputs, plan_outputs
from lstn.formats.plan_file import Sidecar, read_sidecar, sidecar_path

_BATCH = re.compile(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})")
_TARGET = re.compile(r"sm[0-9]{2,3}")

_MAX_ELEMENTS = (1 << 31) - 1
"""TensorRT counts a tensor's elements in 31 bits."""


PlanCheck: TypeAlias = Callable[[Path], int]
"""Takes a plan, with its sidecar beside it; returns on how many images it answers what its ONNX file does, or 0 if that
can't be seen here; raises VerificationError if it doesn't."""


def write_plan(
    onnx_file: Path,
    plan: Path,
    settings: BuildSettings,
    *,
    report: ReportProgress | None = None,
    check: PlanCheck | None = None,
) -> Sidecar:
    """Build `plan` and its sidecar from an ONNX file of lstn, in whatever precision that file has.

    report: is told how far the build is, from another thread
    check:  runs the plan under another name before it gets its own

    The two files are replaced together: the engine is written out to the disk under a temporary name, then the sidecar
    appears, then the engine. What fails before, or is stopped by Ctrl-C, leaves the older pair as it was. A reader
    between the two, or after a power cut there, finds a sidecar whose hash isn't that of the older engine, and refuses
    it; an engine never stands beside the description of another in silence.

    Raises:
        UsageError: a profile's largest batch is more than TensorRT takes, the flavour has no such tuning, or the log
            would replace another file.
        ArtifactError: the file isn't one of lstn's, TensorRT can't read it, or would compute something else.
        MissingExtra: the flavour's package isn't installed.
        VerificationError: `check` says that it computes something else.
        LstnError: the engine can't be built, or the files can't be written.
        KeyboardInterrupt: Ctrl-C.
    """
    check_tuning(settings)
    contract, onnx = read_model(onnx_file)
    check_batch_elements(contract, settings.profiles)
    if settings.log_file is not None:
        check_outputs([OutputFile(settings.log_file, LOG, "--build-log"), *plan_outputs(plan)], inputs=[onnx_file])
    with replacing(plan) as temporary, scratch_folder(plan.parent, f".{plan.name}.") as folder:
        built = build(onnx_file, settings, report=report)
        trial = folder / plan.name
        _write_out(trial, built.data)
        sidecar = Sidecar(
            contract=contract,
            plan_sha256=sha256_of(trial),
            onnx_sha256=sha256_of(onnx_file),
            flavour=settings.flavour,
            version=built.version,
            targets=settings.targets,
            profiles=settings.profiles,
            precision=built.precision,
            inputs=built.inputs,
            outputs=built.outputs,
            gpu=built.gpu,
            hardware_compatible=settings.tuning.hardware_compatible,
            version_compatible=settings.tuning.version_compatible,
            dla_core=settings.tuning.dla_core,
            training=onnx.training,
            tf32=settings.tuning.tf32,
        )
        if check is not None:
            write_text(sidecar_path(trial), sidecar.to_json())
            sidecar = replace(sidecar, compared_images=check(trial))
        trial.replace(temporary)
        write_text(sidecar_path(plan), sidecar.to_json())
    return sidecar


def check_batch_elements(contract: Contract, profiles: tuple[BatchRange, ...]) -> None:
    """Refuse batches of more elements than TensorRT counts.

    Raises:
        UsageError: a profile's largest batch is too large.
    """
    height, width = contract.image_hw
    largest = max(batch.maximum for batch in profiles)
    if largest * height * width * 3 > _MAX_ELEMENTS:
        raise UsageError(
            f"{largest} images of {height} x {width} pixels are more than TensorRT takes at once",
            hint=f"use --batch-profile with a maximum of {_MAX_ELEMENTS // (height * width * 3)} or less",
        )


def _write_out(path: Path, data: memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # "disk full" may come as late as this, and is to come before the sidecar


def is_stale_plan(plan: Path, onnx_file: Path) -> bool:
    """Return whether `plan` is there and its sidecar doesn't say that it was built from `onnx_file`, byte for byte."""
    if not plan.is_file():
        return False
    try:
        return read_sidecar(plan).onnx_sha256 != sha256_of(onnx_file)
    except ArtifactError:
        return True


def parse_batches(texts: Sequence[str]) -> tuple[BatchRange, ...]:
    """Read profiles, each as `MIN,OPT,MAX`, such as `1,8,32`.

    Raises:
        UsageError: one isn't three whole numbers with 1 <= MIN <= OPT <= MAX, or stands twice.
    """
    profiles = tuple(_parse_batch(text) for text in texts)
    if len(set(profiles)) < len(profiles):
        raise UsageError("--batch-profile names the same batch sizes twice", hint="name each profile once")
    return profiles


def _parse_batch(text: str) -> BatchRange:
    match = _BATCH.fullmatch(text.replace(" ", ""))
    batch = BatchRange(*(int(number) for number in match.groups())) if match else BatchRange(0, 0, 0)
    if not 1 <= batch.minimum <= batch.optimum <= batch.maximum:
        raise UsageError(
            f"--batch-profile {text!r:.60}: expected MIN,OPT,MAX with 1 <= MIN <= OPT <= MAX",
            hint="for example: --batch-profile 1,8,32",
        )
    return batch


def parse_targets(text: str) -> tuple[str, ...]:
    """Read compute capabilities, such as `sm86,sm89`, without repetitions; an empty text is none.

    Raises:
        UsageError: one of them isn't spelled like that.
    """
    targets = tuple(dict.fromkeys(text.lower().replace(" ", "").split(","))) if text else ()
    for target in targets:
        if not _TARGET.fullmatch(target):
            raise UsageError(
                f"--target {text!r:.60}: expected compute capabilities such as sm89",
                hint="for example: --target sm86,sm89",
            )
    return targets
