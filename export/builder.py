"""The edge to TensorRT: one builder for `tensorrt` and `tensorrt_rtx`, whose silent refusals become errors here.

Both log, return None or False, and almost never raise. Every engine is strongly typed: TensorRT 11 knows nothing else,
and precision lives in the ONNX file. Names that moved or vanished between versions are looked up, never assumed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from lstn.errors import ArtifactError, DeviceError, LstnError, MissingExtra, UsageError
from lstn.gpu import find_gpus
from lstn.imports import require
from lstn.plan import Flavour, Tensor

_PRECISIONS = {"FP8": "fp8", "INT8": "int8", "HALF": "fp16", "BF16": "bf16"}
"""A network that holds one of these types anywhere is called by it; the first in this order wins."""


class Batch(NamedTuple):
    """A profile's batch sizes: the smallest, the one that kernels are chosen for, and the largest."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Built:
    """An engine in memory. `version` is TensorRT's own; inputs and outputs are as the network has them."""

    data: bytes
    version: str
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


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


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """Import the flavour's package.

    Raises:
        MissingExtra: not installed, not loadable, or a version of TensorRT other than 10 and 11.
    """
    trt = require(flavour.module, extra=flavour.value)
    if flavour is Flavour.TRT and str(trt.__version__).partition(".")[0] not in ("10", "11"):
        hint = f"run: pip install 'lstn[{flavour.value}]'"
        raise MissingExtra(f"TensorRT {trt.__version__} is installed, 10 or 11 is wanted", hint=hint)
    return trt


def build(onnx: Path, *, flavour: Flavour, batch: Batch, targets: tuple[str, ...]) -> Built:
    """Build an engine from an ONNX file with one input, whose first dimension is the batch.

    targets: as `choose_targets` returns them

    Raises:
        ArtifactError: TensorRT can't read the file, or would sample otherwise than bilinear with zeros outside.
        DeviceError: TensorRT doesn't start, such as under a driver that is too old for it.
        LstnError: TensorRT can't build the engine; the message is what it logged.
    """
    trt = load_tensorrt(flavour)
    log = _log(flavour)
    log.lines.clear()
    who = f"{flavour.product} {trt.__version__}"
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # how the binding says that the factory returned nothing, after a driver too old
        raise DeviceError(f"{who} doesn't start on this machine: {log.text()}") from error
    # The parser and the network don't keep each other alive: all three stay in names until the engine is built.
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(onnx)):
        raise ArtifactError(f"{onnx}: {who} can't read it: {_parser_errors(parser) or log.text()}")
    _check_network(trt, network, onnx)
    config = _configure(trt, builder, network, batch, targets if flavour is Flavour.TRT_RTX else ())
    data = None if config is None else builder.build_serialized_network(network, config)
    if data is None:
        # theta and the grid are float32 in every precision, so only a model without a transformer can be made for it.
        turing = "TensorRT for RTX has no float32 on sm75 (Turing): leave it out, or use --engine trt on that GPU"
        hint = turing if flavour is Flavour.TRT_RTX and "sm75" in targets else ""
        raise LstnError(f"{who} can't build {onnx} for {', '.join(targets)}: {log.text()}", hint=hint)
    inputs = tuple(_tensor(network.get_input(index)) for index in range(network.num_inputs))
    outputs = tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs))
    return Built(bytes(data), str(trt.__version__), _precision(network), inputs, outputs)


def _buildable(trt: Any) -> tuple[str, ...]:
    names = (name for name in trt.ComputeCapability.__members__ if name.startswith("SM"))
    return tuple(sorted((name.lower() for name in names), key=lambda name: int(name[2:])))


def _network_flags(trt: Any) -> int:
    """Strongly typed, where it can be said: in TensorRT 11 it is the only way and its flag may go."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def _parser_errors(parser: Any) -> str:
    """Name node, operator and reason of what the parser refused."""
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        reason = _told(error.desc().splitlines())
        where = (
            f"operator {error.node_operator()} (node {error.node_name() or error.node()}): "
            if error.node() >= 0
            else ""
        )
        lines.append(f"{where}{error.code().name} in {error.func()}: {reason:.300}")
    return "; ".join(lines[:3])


def _check_network(trt: Any, network: Any, onnx: Path) -> None:
    """Refuse what would build well and compute something else."""
    if network.num_inputs != 1 or network.get_input(0).shape[0] != -1:
        raise ArtifactError(f"{onnx}: wanted one input with a dynamic batch", hint="write it with: lstn export")
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type != trt.LayerType.GRID_SAMPLE:
            continue
        layer.__class__ = trt.IGridSampleLayer  # the binding's way to cast; get_layer returns the base class
        found = (layer.interpolation_mode.name, layer.sample_mode.name, bool(layer.align_corners))
        if found != ("LINEAR", "FILL", False):
            raise ArtifactError(
                f"{onnx}: TensorRT {trt.__version__} reads the sampler {layer.name!r} as {found}, "
                "wanted (LINEAR, FILL, align_corners False): bilinear, zeros outside",
                hint="export the model again with this lstn, which writes GridSample as every TensorRT reads it",
            )


def _configure(trt: Any, builder: Any, network: Any, batch: Batch, targets: tuple[str, ...]) -> Any:
    """Return the builder's configuration, or None where TensorRT refused part of it and logged why."""
    config = builder.create_builder_config()
    # TensorRT multiplies float32 in TF32 by default: ten bits of fraction, for theta and the logits of an fp32 model.
    # Fewer bits are for the ONNX file to ask for.
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    pixels = network.get_input(0)
    profile.set_shape(pixels.name, *((size, *tuple(pixels.shape)[1:]) for size in batch))
    if config.add_optimization_profile(profile) < 0:
        return None
    if targets:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            if not config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index):
                return None
    return config


def _precision(network: Any) -> str:
    layers = (network.get_layer(index) for index in range(network.num_layers))
    types = {layer.get_output_type(index).name for layer in layers for index in range(layer.num_outputs)}
    return next((word for name, word in _PRECISIONS.items() if name in types), "fp32")


def _tensor(tensor: Any) -> Tensor:
    return Tensor(tensor.name, tensor.dtype.name, tuple(tensor.shape))


@cache
def _log(flavour: Flavour) -> Any:
    """Return TensorRT's logger, which keeps errors to itself until they are asked for.

    One for the process: TensorRT keeps using the first that it meets, and warns of any other.
    """
    trt: Any = load_tensorrt(flavour)

    class Log(trt.ILogger):  # type: ignore[misc]  # of a package that may be missing
        """Errors of the current build, oldest first."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.lines.append(" ".join(message.split()))

        def text(self) -> str:
            return _told(self.lines)[:600] or "it gave no reason"

    return Log()


def _told(lines: Iterable[str]) -> str:
    """Join what TensorRT said, but for the missing driver, which a build for a named GPU doesn't need."""
    return "; ".join(line for line in dict.fromkeys(lines) if "catchCudaError" not in line)
