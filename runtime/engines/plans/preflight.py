"""Preflight: what a plan needs of a machine, checked before TensorRT sees it. Every refusal names what works."""

import shlex
from pathlib import Path
from typing import Any

from lstn.errors import ArtifactError, DeviceError
from lstn.formats.plan_file import RTX_TARGETS, Flavour, Sidecar, read_header, read_sidecar, runs_compatible_plans
from lstn.imports import require
from lstn.machine.gpu import Gpu, find_gpus
from lstn.nvidia_driver import extra_for, find_driver


def check_plan(path: Path) -> Sidecar:
    """Read a plan's header and sidecar, and check them against each other and against this machine's first GPU.

    Raises:
        ArtifactError: damaged, without its sidecar or with another plan's, or built for other GPUs.
        DeviceError: this machine shows no NVIDIA GPU.
    """
    header, sidecar = read_header(path), read_sidecar(path)
    if header.flavour is not sidecar.flavour:
        raise ArtifactError(
            f"{path}: a plan of {header.flavour.product}, and its sidecar says {sidecar.flavour.product}",
            hint=f"rebuild both with: {rebuild(header.flavour)}",
        )
    gpus = find_gpus()
    if not gpus:
        raise DeviceError(f"{path}: a plan needs an NVIDIA GPU, and this machine shows none", hint=instead(path))
    _check_gpu(path, sidecar, gpus[0])
    return sidecar


def load_library(path: Path, sidecar: Sidecar) -> Any:
    """Import the TensorRT that built `path`. A plan runs with that version and no other, unless it was built to.

    Raises:
        MissingExtra: it isn't installed.
        ArtifactError: another version of it is.
    """
    flavour = sidecar.flavour
    trt = require(flavour.module, extra=extra_for(flavour.value, find_driver()))
    if not _version_fits(sidecar, str(trt.__version__)):
        raise ArtifactError(
            f"{path}: built by {flavour.product} {sidecar.version}, this is {trt.__version__}",
            hint=f"rebuild it with: {_rebuild(path, sidecar)}; or {instead(path)}",
        )
    return trt


def _check_gpu(path: Path, sidecar: Sidecar, gpu: Gpu) -> None:
    if sidecar.hardware_compatible and runs_compatible_plans(gpu.target):
        return
    built, here = ", ".join(sidecar.targets), gpu.target
    if gpu.target in sidecar.targets:
        # Kernels of TensorRT are chosen for one model of GPU. It loads the plan on another of the same compute
        # capability with a warning that it may be slow or fail, and some do (NVIDIA/TensorRT issue 2900).
        if sidecar.gpu in ("", gpu.name):
            return
        built, here = f"{built} ({sidecar.gpu})", f"{here} ({gpu.name})"
    if sidecar.hardware_compatible:
        built += " and any GPU from Ampere on but Jetson's"
    raise ArtifactError(
        f"{path}: built for {built}, this GPU is {here}",
        hint=f"rebuild it with: {_rebuild(path, sidecar, gpu.target)}; or {instead(path)}",
    )


def _version_fits(sidecar: Sidecar, here: str) -> bool:
    """Whether this version runs a plan: the same one, or a newer one if the plan was built to be compatible.

    TensorRT 11 runs such plans of TensorRT 10; no version runs those of a newer one (NVIDIA's support matrix).
    """
    built, own = (
        tuple(int(part) for part in each.split(".")[:3] if part.isdecimal()) for each in (sidecar.version, here)
    )
    if sidecar.version_compatible and sidecar.flavour is Flavour.TRT:
        return (10,) <= built <= own
    return built == own


def _rebuild(path: Path, sidecar: Sidecar, target: str = "") -> str:
    """Return the command that builds this very plan anew, from the ONNX file that it is of."""
    flavour = _flavour_for(sidecar.flavour, target)
    words = ["lstn export", shlex.quote(str(path.with_suffix(".onnx"))), "--engine", flavour.value]
    if flavour is Flavour.TRT_RTX and target:
        words += ["--target", target]
    for profile in sidecar.profiles:
        words += ["--batch-profile", ",".join(map(str, profile))]
    if flavour is Flavour.TRT:
        wanted = {
            "--version-compatible": sidecar.version_compatible,
            "--hardware-compatible": sidecar.hardware_compatible and (not target or runs_compatible_plans(target)),
        }
        words += [word for word, asked in wanted.items() if asked]
    words += ["--tf32"] * sidecar.tf32
    if path.parent != Path():
        words += ["--out", shlex.quote(str(path.parent))]
    return " ".join(words)


def rebuild(flavour: Flavour, target: str = "") -> str:
    """Return the command that builds a plan of the newest run, for this GPU if its `target` is given."""
    chosen = _flavour_for(flavour, target)
    named = f" --target {target}" if chosen is Flavour.TRT_RTX and target else ""
    return f"lstn export --engine {chosen.value}{named}"


def _flavour_for(flavour: Flavour, target: str) -> Flavour:
    """TensorRT for RTX, if that is wanted and builds for this GPU or none is given."""
    return Flavour.TRT if target and target not in RTX_TARGETS else flavour


def instead(path: Path) -> str:
    """Return the words for what runs without a GPU in place of this plan, whatever the command."""
    onnx = path.with_suffix(".onnx")
    made = "" if onnx.exists() else f" (the model that {path.name} was built from)"
    return f"name {onnx} in its place{made}, which ONNX Runtime runs on any CPU"
