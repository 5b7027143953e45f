"""The edge to TensorRT: one builder for `tensorrt` and `tensorrt_rtx`, whose silent refusals become errors here.

Both log, return None or False, and almost never raise. Every engine is strongly typed: TensorRT 11 knows nothing else,
and precision lives in the ONNX file. Names that moved or vanished between versions are looked up, never assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstn.errors import ArtifactError, LstnError
from lstn.export.plugin import FUSED
from lstn.export.plugin.aot import register_plugin
from lstn.export.tensorrt.build_log import BuildLog, logger_of, told
from lstn.export.tensorrt.build_progress import Progress, ReportProgress, interruptible, monitor_of
from lstn.export.tensorrt.builder_flags import BuildSettings, adjust_for_dla, apply_tuning
from lstn.export.tensorrt.parsed_layers import count_layers, layers_of, precision_of
from lstn.export.tensorrt.targets import load_tensorrt, own_gpu
from lstn.export.tensorrt.timings import timing_cache
from lstn.formats.node_names import ModelPart, part_of
from lstn.formats.onnx_file import read_onnx
from lstn.formats.plan_file import Flavour, Tensor
from lstn.machine.tensorrt_objects import start


@dataclass(frozen=True, slots=True)
class Built:
    """An engine in memory. `version` is TensorRT's own; inputs and outputs are as the network has them.

    data: the plan, in TensorRT's own memory: engines of more than 2 GB aren't held twice
    gpu:  the name of the GPU that it was built on, or empty where none took part
    """

    data: memoryview
    version: str
    gpu: str
    precision: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def build(onnx: Path, settings: BuildSettings, *, report: ReportProgress | None = None) -> Built:
    """Build an engine from an ONNX file with one input, whose first dimension is the batch.

    report: is told how far the build is, from another thread

    Raises:
        ArtifactError: TensorRT can't read the file, or would sample otherwise than bilinear with zeros outside.
        DeviceError: TensorRT doesn't start, such as under a driver that is too old for it; or there is no such DLA.
        LstnError: TensorRT can't build the engine; the message is what it logged. Or the log can't be written.
        KeyboardInterrupt: Ctrl-C, after the step that TensorRT was in.
    """
    flavour = settings.flavour
    trt, gpu = load_tensorrt(flavour), own_gpu(flavour)
    log: BuildLog = logger_of(trt)
    who = f"{flavour.product} {trt.__version__}"
    what = f"{onnx} for {', '.join(settings.targets)}, {settings.profiles}, {settings.tuning}"
    progress = Progress(report)

    def work() -> Built:
        with log.writing(settings.log_file, f"{who}: {what}"):
            _declare_plugin(flavour, onnx)
            builder, network, _parser = _parse(trt, log, onnx, flavour, dla=settings.tuning.dla_core is not None)
            _check_network(trt, network, onnx)
            config = _configure(trt, builder, network, settings)
            if config is None:
                raise _cannot_build(who, onnx, settings, log)
            apply_tuning(trt, builder, config, network, settings.tuning)
            with timing_cache(trt, config, gpu):
                data = _serialize(trt, builder, network, config, progress)
                if data is None:
                    raise _cannot_build(who, onnx, settings, log)
            inputs = tuple(_tensor(network.get_input(index)) for index in range(network.num_inputs))
            outputs = tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs))
            name = "" if gpu is None else gpu.name
            return Built(memoryview(data), str(trt.__version__), name, precision_of(network), inputs, outputs)

    return interruptible(work, progress)


def count_parsed_layers(onnx: Path, *, flavour: Flavour) -> Mapping[tuple[str, str], int]:
    """Return (type of layer, precision) -> how many, of an ONNX file as TensorRT reads it; nothing is built.

    See `lstn.export.tensorrt.parsed_layers.count_layers` for what the precision of a quantized convolution is.

    Raises:
        ArtifactError: TensorRT can't read the file, or would sample otherwise, as for `build`.
        DeviceError: TensorRT doesn't start.
    """
    trt = load_tensorrt(flavour)
    log: BuildLog = logger_of(trt)

    def work() -> Mapping[tuple[str, str], int]:
        with log.writing(None, ""):
            _declare_plugin(flavour, onnx)
            _builder, network, _parser = _parse(trt, log, onnx, flavour)
            _check_network(trt, network, onnx)
            return count_layers(network)

    return interruptible(work, Progress())


def _declare_plugin(flavour: Flavour, onnx: Path) -> None:
    """Let full TensorRT know the fused sampler, before it parses a file that has one."""
    if flavour is Flavour.TRT and FUSED in read_onnx(onnx).operators:
        register_plugin()


def _parse(trt: Any, log: BuildLog, onnx: Path, flavour: Flavour, *, dla: bool = False) -> tuple[Any, Any, Any]:
    """Return builder, network and parser. They don't keep each other alive: all three stay in names until the end."""
    builder = start(lambda: trt.Builder(log), log, flavour, str(trt.__version__))
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if dla:
        adjust_for_dla(trt, parser)
    if not parser.parse_from_file(str(onnx)):
        who = f"{flavour.product} {trt.__version__}"
        raise ArtifactError(f"{onnx}: {who} can't read it: {_parser_errors(parser) or log.text()}")
    return builder, network, parser


def _network_flags(trt: Any) -> int:
    """Strongly typed, where it can be said: in TensorRT 11 it is the only way and its flag may go."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def _parser_errors(parser: Any) -> str:
    """Name node, operator and reason of what the parser refused."""
    lines = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        reason = told(error.desc().splitlines())
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
        raise ArtifactError(f"{onnx}: expected one input with a dynamic batch", hint="write it with: lstn export")
    for layer in layers_of(network):
        if layer.type.name.startswith("PLUGIN") and part_of(layer.name) is not ModelPart.SAMPLER:
            raise ArtifactError(
                f"{onnx}: TensorRT {trt.__version__} reads {layer.name!r} as a plugin, expected none but the sampler"
            )
        if layer.type != trt.LayerType.GRID_SAMPLE:
            continue
        layer.__class__ = trt.IGridSampleLayer  # the binding's way to cast; get_layer returns the base class
        found = (layer.interpolation_mode.name, layer.sample_mode.name, bool(layer.align_corners))
        if found != ("LINEAR", "FILL", False):
            raise ArtifactError(
                f"{onnx}: TensorRT {trt.__version__} reads the sampler {layer.name!r} as {found}, "
                "expected (LINEAR, FILL, align_corners False): bilinear, zeros outside",
                hint="export the model again with this lstn, which writes GridSample as every TensorRT reads it",
            )


def _configure(trt: Any, builder: Any, network: Any, settings: BuildSettings) -> Any:
    """Return the builder's configuration, or None where TensorRT refused part of it and logged why."""
    config = builder.create_builder_config()
    # Or what TensorRT fuses can't be traced back to the model's parts by `lstn bench --profile`.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    pixels = network.get_input(0)
    for batch in settings.profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape(pixels.name, *((size, *tuple(pixels.shape)[1:]) for size in batch))
        if config.add_optimization_profile(profile) < 0:
            return None
    if settings.flavour is Flavour.TRT_RTX:
        # No memory is taken while the plan runs, which its graphs couldn't record.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    targets = settings.targets if settings.flavour is Flavour.TRT_RTX else ()  # the other builds for its own GPU
    if targets:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            if not config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index):
                return None
    return config


def _serialize(trt: Any, builder: Any, network: Any, config: Any, progress: Progress) -> Any:
    """Return the engine as IHostMemory, or None where TensorRT couldn't build it and logged why."""
    monitor = monitor_of(trt, progress)
    config.progress_monitor = monitor
    try:
        return builder.build_serialized_network(network, config)
    finally:
        config.progress_monitor = None  # the configuration may live longer than the monitor


def _cannot_build(who: str, onnx: Path, settings: BuildSettings, log: BuildLog) -> LstnError:
    # theta and the grid are float32 in every precision, so only a model without a transformer can be made for it.
    hint = ""
    if settings.flavour is Flavour.TRT_RTX and "sm75" in settings.targets:
        hint = "TensorRT for RTX has no float32 on sm75 (Turing): leave it out, or use --engine trt on that GPU"
    elif "fp8" in log.text():
        hint = "fp8 came with sm89: leave older GPUs out, or calibrate the model for int8"
    elif any(word in log.text() for word in ("workspace", "OutOfMemory")):
        hint = "allow more with --workspace, or free GPU memory"
    return LstnError(f"{who} can't build {onnx} for {', '.join(settings.targets)}: {log.text()}", hint=hint)


def _tensor(tensor: Any) -> Tensor:
    return Tensor(tensor.name, tensor.dtype.name, tuple(tensor.shape))
