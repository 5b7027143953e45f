"""Targets of a build: which TensorRT, and for which GPUs."""

from types import ModuleType
from typing import Any

from lstn.errors import DeviceError, MissingExtra, UsageError
from lstn.formats.plan_file import Flavour
from lstn.imports import require
from lstn.install import install_line
from lstn.machine.gpu import Gpu, find_gpus
from lstn.nvidia_driver import extra_for, find_driver


def choose_targets(flavour: Flavour, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the compute capabilities to build for: `wanted`, such as `sm89`, or this machine's first GPU.

    Raises:
        UsageError: TensorRT can't build for one of `wanted`.
        MissingExtra: the flavour's package isn't installed, or is of a version that this code wasn't written for.
        DeviceError: none is wanted and there is no GPU, or none that the flavour builds for.
    """
    gpus = find_gpus()
    if flavour is Flavour.TRT:
        if wanted:
            raise UsageError("--target is for --engine trt-rtx: TensorRT builds for the GPU that it runs on")
        if not gpus:
            raise DeviceError(
                "TensorRT needs an NVIDIA GPU, and this machine has none",
                hint="build for another GPU with: lstn export --engine trt-rtx --target sm89",
            )
        load_tensorrt(flavour)
        return (gpus[0].target,)
    buildable = _buildable(load_tensorrt(flavour))
    listed = f"it builds for {', '.join(buildable)}"
    if unknown := [target for target in wanted if target not in buildable]:
        raise UsageError(f"{flavour.product} can't build for {', '.join(unknown)}", hint=listed)
    if wanted:
        return tuple(dict.fromkeys(wanted))
    if not gpus:
        raise DeviceError(
            f"{flavour.product} has no GPU here to build for, and no --target names one",
            hint=f"add --target sm89, or another: {listed}",
        )
    if gpus[0].target not in buildable:
        raise DeviceError(f"{flavour.product} can't build for this GPU, {gpus[0].name} ({gpus[0].target})", hint=listed)
    return (gpus[0].target,)


def own_gpu(flavour: Flavour) -> Gpu | None:
    """Return the GPU whose kernels TensorRT times while it builds; TensorRT for RTX builds without one."""
    return next(iter(find_gpus()), None) if flavour is Flavour.TRT else None


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """Import the flavour's package.

    Raises:
        MissingExtra: not installed, not loadable, or a version of TensorRT other than 10 and 11.
    """
    extra = extra_for(flavour.value, find_driver())
    trt = require(flavour.module, extra=extra)
    if flavour is Flavour.TRT and str(trt.__version__).partition(".")[0] not in ("10", "11"):
        hint = f"run: {install_line(extra)}"
        raise MissingExtra(f"TensorRT {trt.__version__} is installed, expected 10 or 11", hint=hint)
    return trt


def _buildable(trt: Any) -> tuple[str, ...]:
    names = (name for name in trt.ComputeCapability.__members__ if name.startswith("SM"))
    return tuple(sorted((name.lower() for name in names), key=lambda name: int(name[2:])))
