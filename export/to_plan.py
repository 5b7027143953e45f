"""model.onnx -> model.plan for TensorRT or TensorRT for RTX, with the sidecar that says what it is.

No torch and no onnx package is needed: TensorRT builds for the GPU that it runs on, which may be an edge device's.
"""

import os
import re
from pathlib import Path

from lstn.errors import ArtifactError, UsageError
from lstn.export.builder import Batch, build
from lstn.files import replacing, sha256_of, write_text
from lstn.onnxfile import read_model
from lstn.plan import Flavour, Sidecar, read_sidecar, sidecar_path

_BATCH = re.compile(r"([0-9]{1,6}),([0-9]{1,6}),([0-9]{1,6})")
_TARGET = re.compile(r"sm[0-9]{2,3}")
_MAX_ELEMENTS = (1 << 31) - 1
"""TensorRT counts a tensor's elements in 31 bits."""


def write_plan(onnx_file: Path, plan: Path, *, flavour: Flavour, batch: Batch, targets: tuple[str, ...]) -> Sidecar:
    """Build `plan` and its sidecar from an ONNX file of lstn, in whatever precision that file has.

    batch:   the profile; the engine takes N from its minimum to its maximum
    targets: compute capabilities, as `lstn.export.builder.choose_targets` returns them

    The two files are replaced together: the engine is written out to the disk under a temporary name, then the sidecar
    appears, then the engine. What fails before leaves the older pair as it was. A reader between the two, or after a
    power cut there, finds a sidecar whose hash isn't that of the older engine, and refuses it; an engine never stands
    beside the description of another in silence.

    Raises:
        UsageError: the profile's largest batch is more than TensorRT takes.
        ArtifactError: the file isn't one of lstn's, TensorRT can't read it, or would compute something else.
        MissingExtra: the flavour's package isn't installed.
        LstnError: the engine can't be built, or the files can't be written.
    """
    contract, _ = read_model(onnx_file)
    height, width = contract.image_hw
    if batch.maximum * height * width * 3 > _MAX_ELEMENTS:
        raise UsageError(
            f"{batch.maximum} images of {height} x {width} pixels are more than TensorRT takes at once",
            hint=f"use --batch with a maximum of {_MAX_ELEMENTS // (height * width * 3)} or less",
        )
    with replacing(plan) as temporary:
        built = build(onnx_file, flavour=flavour, batch=batch, targets=targets)
        with temporary.open("wb") as file:
            file.write(built.data)
            file.flush()
            os.fsync(file.fileno())  # "disk full" may come as late as this, and is to come before the sidecar
        sidecar = Sidecar(
            contract=contract,
            plan_sha256=sha256_of(temporary),
            onnx_sha256=sha256_of(onnx_file),
            flavour=flavour,
            version=built.version,
            targets=targets,
            batch=batch,
            precision=built.precision,
            inputs=built.inputs,
            outputs=built.outputs,
        )
        write_text(sidecar_path(plan), sidecar.to_json())
    return sidecar


def is_stale(plan: Path, onnx_file: Path) -> bool:
    """Return whether `plan` is there and its sidecar doesn't say that it was built from `onnx_file`, byte for byte."""
    if not plan.is_file():
        return False
    try:
        return read_sidecar(plan).onnx_sha256 != sha256_of(onnx_file)
    except ArtifactError:
        return True


def parse_batch(text: str) -> Batch:
    """Read `MIN,OPT,MAX`, such as `1,8,32`.

    Raises:
        UsageError: not three whole numbers with 1 <= MIN <= OPT <= MAX.
    """
    match = _BATCH.fullmatch(text.replace(" ", ""))
    batch = Batch(*(int(number) for number in match.groups())) if match else Batch(0, 0, 0)
    if not 1 <= batch.minimum <= batch.optimum <= batch.maximum:
        raise UsageError(
            f"--batch {text!r:.60}: wanted MIN,OPT,MAX with 1 <= MIN <= OPT <= MAX", hint="for example: --batch 1,8,32"
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
                f"--target {text!r:.60}: wanted compute capabilities such as sm89",
                hint="for example: --target sm86,sm89",
            )
    return targets
