"""Tuning of a build: options beyond the model, and those that a flavour or a machine does not have."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lstn.errors import DeviceError, LstnError, UsageError
from lstn.formats.plan_file import Flavour, runs_compatible_plans

_MIB = 1 << 20


class BatchRange(NamedTuple):
    """A profile's batch sizes: the smallest, the one that kernels are chosen for, and the largest."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What may be said of a build; what is left out is TensorRT's own default.

    workspace_mib:       the most memory, in MiB, that a layer may use on the side
    level:               the builder's optimisation level, from 0 (fastest build) to 5 (fastest engine)
    hardware_compatible: for every GPU from Ampere on, not this one's model alone
    version_compatible:  for newer versions of TensorRT too, not this one alone
    dla_core:            which of a Jetson's deep learning accelerators takes the layers that it can
    tf32:                float32 is multiplied in TF32, with ten bits of fraction
    """

    workspace_mib: int | None = None
    level: int | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False
    dla_core: int | None = None
    tf32: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What is decided of a build before its model is read.

    profiles: the engine takes N from the smallest to the largest batch of each
    targets:  compute capabilities, as `lstn.export.tensorrt.targets.choose_targets` returns them; none where the plan
              is to be built on another machine, about which nothing is known
    log_file: where to write whatever TensorRT says of the build
    """

    flavour: Flavour
    profiles: tuple[BatchRange, ...]
    targets: tuple[str, ...]
    tuning: Tuning = Tuning()
    log_file: Path | None = None


def check_tuning(settings: BuildSettings) -> None:
    """Refuse, before anything is made, what the flavour or the GPU can't be asked for.

    Raises:
        UsageError: an option that the flavour lacks, a GPU before Ampere, or a profile that the DLA doesn't take.
    """
    tuning, profiles = settings.tuning, settings.profiles
    if settings.flavour is Flavour.TRT_RTX:
        _refuse_for_rtx(tuning)
    if tuning.hardware_compatible and not all(runs_compatible_plans(target) for target in settings.targets):
        own = ", ".join(settings.targets)
        raise UsageError(f"--hardware-compatible is for Ampere (sm80) and newer GPUs but Jetson's; this one is {own}")
    if tuning.dla_core is not None and (len(profiles) > 1 or len(set(profiles[0])) > 1):
        largest = max(profile.maximum for profile in profiles)
        raise UsageError(
            "--dla takes one batch size: the DLA has no dynamic shapes",
            hint=f"name it three times: --batch-profile {largest},{largest},{largest}",
        )


def _refuse_for_rtx(tuning: Tuning) -> None:
    if tuning.hardware_compatible:
        raise UsageError(
            "--hardware-compatible is for --engine trt; a plan of TensorRT for RTX runs on each GPU that it names",
            hint="name several: --target sm86,sm89",
        )
    if tuning.version_compatible:
        raise UsageError(
            "--version-compatible is for --engine trt; a plan of TensorRT for RTX runs with its own version alone"
        )
    if tuning.dla_core is not None:
        raise UsageError("--dla is for --engine trt, on a Jetson that has a DLA")


def apply_tuning(trt: Any, builder: Any, config: Any, network: Any, tuning: Tuning) -> None:
    """Put `tuning` into a builder's configuration.

    Raises:
        LstnError: this version of TensorRT has no such thing, or the DLA can run no layer of the network.
        DeviceError: there is no such DLA.
    """
    # TensorRT multiplies float32 in TF32 by default: ten bits of fraction, for theta and the logits of an fp32 model.
    if tuning.tf32:
        config.set_flag(_having(trt, "BuilderFlag", "TF32", option="--tf32").TF32)
    elif hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if tuning.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, tuning.workspace_mib * _MIB)
    if tuning.level is not None:
        config.builder_optimization_level = tuning.level
    if tuning.hardware_compatible:
        levels = _having(trt, "HardwareCompatibilityLevel", "AMPERE_PLUS", option="--hardware-compatible")
        config.hardware_compatibility_level = levels.AMPERE_PLUS
    if tuning.version_compatible:
        flags = _having(trt, "BuilderFlag", "VERSION_COMPATIBLE", option="--version-compatible")
        config.set_flag(flags.VERSION_COMPATIBLE)
    if tuning.dla_core is not None:
        _use_dla(trt, builder, config, network, tuning.dla_core)


def adjust_for_dla(trt: Any, parser: Any) -> None:
    """Let a parser read a model as the DLA wants it in a strongly typed network, before it parses.

    Raises:
        LstnError: this TensorRT's DLA takes weakly typed networks alone; the parser's flag came with 10.16.
    """
    if not hasattr(trt.OnnxParserFlag, "ADJUST_FOR_DLA"):
        raise LstnError(
            f"--dla: the DLA of TensorRT {trt.__version__} takes weakly typed networks alone, and lstn builds strongly "
            "typed ones, in which the ONNX file says the precision",
            hint="leave --dla out to build for the GPU; or use TensorRT 10.16 or newer",
        )
    parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)


def _use_dla(trt: Any, builder: Any, config: Any, network: Any, core: int) -> None:
    devices = _having(trt, "DeviceType", "DLA", option="--dla")
    if core >= builder.num_DLA_cores:
        raise DeviceError(
            f"--dla {core}: TensorRT {trt.__version__} sees {builder.num_DLA_cores} DLA cores on this machine",
            hint="leave --dla out to build for the GPU",
        )
    config.default_device_type = devices.DLA
    config.DLA_core = core
    config.set_flag(_having(trt, "BuilderFlag", "GPU_FALLBACK", option="--dla").GPU_FALLBACK)
    # With the fallback TensorRT says nothing when it builds the whole model for the GPU, as it does for float32.
    if not any(config.can_run_on_DLA(network.get_layer(index)) for index in range(network.num_layers)):
        raise LstnError(
            "the DLA can run no layer of this model: it computes in float16 and int8",
            hint="lower the model's precision first, or leave --dla out",
        )


def _having(trt: Any, group: str, name: str, *, option: str) -> Any:
    """Return an enumeration of TensorRT's that has `name`; what a version lacks is no attribute of it."""
    found = getattr(trt, group, None)
    if not hasattr(found, name):
        raise LstnError(f"TensorRT {trt.__version__} has no {group}.{name}, which {option} asks for")
    return found
