"""What a plan needs of a machine, checked before TensorRT sees it: every refusal names what works instead."""

from pathlib import Path
from typing import Any

from lstn.errors import ArtifactError, DeviceError
from lstn.gpu import find_gpus
from lstn.imports import require
from lstn.plan import RTX_TARGETS, Flavour, Sidecar, read_header, read_sidecar


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
    target = gpus[0].target
    if target not in sidecar.targets:
        raise ArtifactError(
            f"{path}: built for {', '.join(sidecar.targets)}, this GPU is {target}",
            hint=f"rebuild it with: {rebuild(sidecar.flavour, target)}; or {instead(path)}",
        )
    return sidecar


def load_library(path: Path, sidecar: Sidecar) -> Any:
    """Import the TensorRT that built `path`. A plan runs with that version and no other.

    Raises:
        MissingExtra: it isn't installed.
        ArtifactError: another version of it is.
    """
    flavour = sidecar.flavour
    trt = require(flavour.module, extra=flavour.value)
    built, here = (str(version).split(".")[:3] for version in (sidecar.version, trt.__version__))
    if built != here:
        raise ArtifactError(
            f"{path}: built by {flavour.product} {sidecar.version}, this is {trt.__version__}",
            hint=f"rebuild it with: {rebuild(flavour)}; or {instead(path)}",
        )
    return trt


def rebuild(flavour: Flavour, target: str = "") -> str:
    """Return the command that builds a plan anew, for this GPU if its `target` is given."""
    if flavour is Flavour.TRT or (target and target not in RTX_TARGETS):
        return f"lstn export --engine {Flavour.TRT.value}"
    return f"lstn export --engine {flavour.value}" + (f" --target {target}" if target else "")


def instead(path: Path) -> str:
    """Return the words for what runs without a GPU in place of this plan."""
    onnx = path.with_suffix(".onnx")
    made = "" if onnx.exists() else f" (the model that {path.name} was built from)"
    return f"use ONNX Runtime: lstn infer images/ --engine {onnx}{made}"
