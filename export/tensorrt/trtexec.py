"""model.onnx -> a shell script that builds its plan with NVIDIA's `trtexec`, on a device that needn't have Python.

Written anywhere: neither TensorRT nor a GPU takes part. The flags are those of TensorRT 10 and 11; those that a version
takes for granted (`--stronglyTyped` from 11 on) it still accepts.
"""

import shlex
from pathlib import Path

from lstn.contract import PIXELS, Contract
from lstn.errors import ArtifactError, LstnError
from lstn.export.tensorrt.builder_flags import BatchRange, Tuning
from lstn.export.tensorrt.to_plan import check_batch_elements
from lstn.files import replacing
from lstn.formats.onnx_file import OnnxFile, read_model
from lstn.terminal import printable

_SCRIPT = """\
#!/bin/sh
# Builds {plan} from {onnx} with NVIDIA's trtexec, on the machine that will run it, as
# `lstn export --engine trt` would. What is added to the command goes to trtexec: {script} --verbose
#
# The plan is for trtexec, Triton and programs of your own: lstn itself wants {plan}.json next to it, which
# `lstn export {onnx} --engine trt` writes. {cache} spares the next build some time; it may be deleted.
set -eu
cd "$(dirname "$0")"
trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
"$trtexec" \\
{arguments}
  "$@"
mv -f {built} {saved}
printf '%s\\n' "to measure its images/s:" {timing}
"""
"""trtexec writes as it goes: the plan gets its name when it is whole. JetPack and NVIDIA's packages leave trtexec in
/usr/src/tensorrt/bin, which is on no PATH.
"""


def script_path(onnx_file: Path) -> Path:
    """`model.onnx` -> `model.trtexec.sh`."""
    return onnx_file.with_name(f"{onnx_file.stem}.trtexec.sh")


def write_script(onnx_file: Path, *, profiles: tuple[BatchRange, ...], tuning: Tuning) -> OnnxFile:
    """Write the script that builds the plan of `onnx_file` beside it, and return what the file says of itself.

    Raises:
        ArtifactError: the file isn't one of lstn's.
        UsageError: a profile's largest batch is more than TensorRT takes.
        LstnError: the script can't be written.
    """
    contract, onnx = read_model(onnx_file)
    check_batch_elements(contract, profiles)
    _check_input(onnx, contract, onnx_file)
    path = script_path(onnx_file)
    with replacing(path) as temporary:
        try:
            temporary.write_text(_script(onnx_file, contract, profiles, tuning), encoding="utf-8")
        except UnicodeEncodeError as error:
            raise LstnError(f"{onnx_file}: its name is not text", hint="rename it") from error
        mode = temporary.stat().st_mode
        temporary.chmod(mode | (mode & 0o444) >> 2)  # whoever may read it may run it
    return onnx


def trtexec_flags(contract: Contract, profiles: tuple[BatchRange, ...], tuning: Tuning) -> tuple[str, ...]:
    """Return what `lstn.export.tensorrt.builder` asks TensorRT for, as options of trtexec."""
    no_tf32 = [] if tuning.tf32 else ["--noTF32"]
    flags = ["--stronglyTyped", *no_tf32, "--profilingVerbosity=detailed", "--skipInference"]
    height, width = contract.image_hw
    for index, batch in enumerate(profiles):
        if len(profiles) > 1:
            flags.append(f"--profile={index}")
        sizes = zip(("min", "opt", "max"), batch, strict=True)
        flags += [f"--{which}Shapes={PIXELS}:{size}x{height}x{width}x3" for which, size in sizes]
    if tuning.workspace_mib is not None:
        flags.append(f"--memPoolSize=workspace:{tuning.workspace_mib}")  # in MiB where no unit is said
    if tuning.level is not None:
        flags.append(f"--builderOptimizationLevel={tuning.level}")
    if tuning.hardware_compatible:
        flags.append("--hardwareCompatibilityLevel=ampere+")
    if tuning.version_compatible:
        flags.append("--versionCompatible")
    if tuning.dla_core is not None:
        flags += [f"--useDLACore={tuning.dla_core}", "--allowGPUFallback"]
    return tuple(flags)


def timing_line(plan: str, contract: Contract, profiles: tuple[BatchRange, ...]) -> str:
    """Return the command that measures what `lstn bench --throughput` does: two batches under way, copied by graphs."""
    (height, width), largest = contract.image_hw, max(profiles, key=lambda batch: batch.maximum)
    words = [
        "trtexec",
        f"--loadEngine={plan}",
        *([f"--useProfile={profiles.index(largest)}"] if len(profiles) > 1 else []),
        f"--shapes={PIXELS}:{largest.optimum}x{height}x{width}x3",
        "--useCudaGraph",
        "--infStreams=2",
    ]
    return shlex.join(words)


def _script(onnx_file: Path, contract: Contract, profiles: tuple[BatchRange, ...], tuning: Tuning) -> str:
    plan, cache = f"{onnx_file.stem}.plan", f"{onnx_file.stem}.trtexec.cache"
    built = f".{plan}.tmp"
    files = (f"--onnx={onnx_file.name}", f"--saveEngine={built}", f"--timingCacheFile={cache}")
    arguments = "\n".join(f"  {shlex.quote(word)} \\" for word in (*files, *trtexec_flags(contract, profiles, tuning)))
    return _SCRIPT.format(
        plan=printable(plan),
        onnx=printable(onnx_file.name),
        script=printable(script_path(onnx_file).name),
        cache=printable(cache),
        arguments=arguments,
        built=_operand(built),
        saved=_operand(plan),
        timing=shlex.quote(printable(timing_line(plan, contract, profiles))),
    )


def _operand(name: str) -> str:
    return shlex.quote(f"./{name}")  # or a name such as -f.plan would be an option


def _check_input(onnx: OnnxFile, contract: Contract, path: Path) -> None:
    height, width = contract.image_hw
    found = [(tensor.name, tensor.shape) for tensor in onnx.inputs]
    if found != [(PIXELS, (-1, height, width, 3))]:
        raise ArtifactError(
            f"{path}: reads {found!r:.200}, expected {PIXELS} of (-1, {height}, {width}, 3), as its contract says",
            hint="write it with: lstn export",
        )
