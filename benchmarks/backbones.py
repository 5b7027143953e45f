"""Backbones on the way to a device: which export, quantize and build as a plan, and how fast they are on a CPU.

    python -m benchmarks backbones [NAME…] [--out results/backbones/backbones.json] [--seconds 1]

Each backbone alone, without a transformer, at its own image size and with ten classes. Weights are random: none of the
answers depends on them. A row that is in the result already is not measured again, so an interrupted run goes on where
it was. What fails says why.

Needs: timm, OpenVINO and TensorRT for RTX, but no GPU.
"""

import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.calibration.calibrating import DEFAULT_KEEP
from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.lower import lowered_model
from lstn.calibration.ranges import ranges_of
from lstn.contract import Contract, Loc
from lstn.data.dataset import open_data
from lstn.data.digits import DIGIT_LABELS
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.openvino.to_openvino import write_openvino
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.export.tensorrt.to_plan import write_plan
from lstn.formats.plan_file import Flavour
from lstn.images import Pixels
from lstn.nn.backbones import backbone_named
from lstn.nn.classifier import Classifier
from lstn.nn.costs.taken_apart import make_usual
from lstn.precision import Precision, RangeMethod
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine

RESULT = "results/backbones/backbones.json"
LIBRARIES = ("torch", "torchvision", "timm", "onnxruntime", "openvino", "tensorrt-rtx")
TARGETS = ("sm86",)
IMAGES, RANGE_IMAGES = 4, 8
ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
COLUMNS = (
    "backbone", "side", "parameters", "model.onnx", "off PyTorch", "plan", "fp32, ONNX Runtime", "fp32, OpenVINO",
    "int8, ONNX Runtime", "int8, OpenVINO",
)  # fmt: skip

NAMES = tuple(
    """
mobilenet_v3_small timm:mobilenetv4_conv_small timm:repvgg_a0 timm:fastvit_t8 timm:tf_efficientnet_lite0 regnet_x_400mf
timm:convnext_atto mobilenet_v3_large timm:mobilenetv4_conv_medium timm:fastvit_t12 timm:repvgg_a1
timm:tf_efficientnet_lite1 timm:tf_efficientnet_lite2 regnet_y_400mf timm:regnety_002 timm:convnextv2_atto
timm:mobilenetv4_hybrid_medium timm:mobilenetv3_small_100 timm:mobileone_s0 timm:repvit_m0_9 cnn resnet-18 effnet-b0
mobilenet_v2 shufflenet_v2_x0_5 shufflenet_v2_x1_0 mnasnet0_5 squeezenet1_1 timm:ghostnet_100 timm:edgenext_xx_small
timm:mobilevit_xxs timm:mobilevitv2_050 timm:efficientformerv2_s0 timm:efficientvit_b0 timm:efficientvit_m0
timm:levit_128s timm:tinynet_e timm:lcnet_050 timm:hardcorenas_a timm:mixnet_s timm:fbnetc_100 timm:semnasnet_075
timm:hgnetv2_b0 timm:starnet_s1 timm:shvit_s1 timm:rexnet_100 timm:swiftformer_xs timm:fasternet_t0 timm:repghostnet_050
timm:mobilenet_edgetpu_v2_xs timm:efficientnet_es timm:resnet10t timm:resnet14t timm:ese_vovnet19b_dw
timm:vit_tiny_patch16_224 timm:tiny_vit_5m_224 timm:xcit_nano_12_p16_224 timm:pit_ti_224 timm:resmlp_12_224 densenet-121
googlenet timm:mambaout_femto timm:poolformer_s12 timm:selecsls42b timm:dla34 timm:eca_nfnet_l0 resnet-50
efficientnet_v2_s convnext_tiny swin_t inception_v3 resnext50_32x4d regnet_y_1_6gf regnet_y_3_2gf maxvit_t vit_b_32
vgg-11
""".split()  # noqa: SIM905 - eighty quoted names are harder to read
)
"""Those for small devices first."""

HEAD = """# Backbones on the way to a device

Each backbone alone, at its own image size and with ten classes; weights are random. *off PyTorch*: the largest
difference of a logit of the ONNX file, which is verified as `lstn export` does. RepVGG, MobileOne, FastViT and
their like are reparametrised before. *plan*: its size, built by TensorRT for RTX for sm86, without a GPU. Times are
milliseconds at batch 1 with one thread, pixels in memory to logits in memory, all four in turns within one loop: the
median of the processor time, which is the latency of a core that nothing else uses. int8 as `lstn calibrate` makes it
by default.
"""


def main(words: Sequence[str]) -> None:
    """Measure one backbone after another, and write the table after each."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all of the list")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each engine is timed")
    arguments = parser.parse_args(words)
    out: Path = arguments.out
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.is_file() else []
    for name in arguments.names or NAMES:
        if all(row["name"] != name for row in rows):
            rows.append(measured_apart(name, arguments.seconds))
            result = machine_of(LIBRARIES) | {"seconds": arguments.seconds, "rows": rows}
            write_result(out, result, page_of(result))
            print(*_cells(rows[-1]), sep="  ", flush=True)


def measured_apart(name: str, seconds: float) -> dict[str, Any]:
    """Return the row of one backbone, measured in a process of its own, which a library may end."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measure, name, seconds).result()
        except BrokenProcessPool:
            why = "a library ended the process"
            return {"name": name, "side": backbone_named(name).image_size, "failed": {"the row": why}}


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Return the row of one backbone; each step that fails leaves its reason, and those that need it are left out."""
    side = backbone_named(name).image_size
    row: dict[str, Any] = {"name": name, "side": side}
    images = sample_images("digits", (side, side), seed=0)[:IMAGES]
    with TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / "fp32.onnx"
        if _tried(row, "onnx", lambda: exported(name, side, file, images)):
            files = {"fp32": file}
            if _tried(row, "int8", lambda: lowered(file, folder / "int8.onnx", side)):
                files["int8"] = folder / "int8.onnx"
            _tried(row, "plan", lambda: built(file, folder / "model.plan"))
            row["ms"] = timed(row, files, images, seconds)
    return row


def exported(name: str, side: int, file: Path, images: Pixels) -> dict[str, Any]:
    """Make the network, export it, and compare the two."""
    contract = Contract(Loc.NONE, name, (side, side), DIGIT_LABELS)
    torch.manual_seed(0)
    model = Classifier(contract)
    make_usual(model)
    agreement = write_onnx(model, file, contract, images)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "bytes": file.stat().st_size,
        "difference": agreement.logit_difference,
        "top1": agreement.top1,
    }


def lowered(file: Path, made: Path, side: int) -> dict[str, Any]:
    """Lower a model to int8 as `lstn calibrate` does by default."""
    exact = onnx.load(file)
    train = open_data("digits", image_hw=(side, side)).train
    cache = made.with_suffix(".json")
    ranges = ranges_of(file, train, method=RangeMethod.MINMAX, count=RANGE_IMAGES, seed=0, cache=cache)
    kept = kept_layers(layer_names(exact), DEFAULT_KEEP[Precision.INT8])
    made.write_bytes(lowered_model(exact, Precision.INT8, kept, ranges).SerializeToString())
    return {"bytes": made.stat().st_size}


def built(file: Path, plan: Path) -> dict[str, Any]:
    """Build a plan."""
    started = time.perf_counter()
    write_plan(file, plan, BuildSettings(flavour=Flavour.TRT_RTX, profiles=(BatchRange(1, 1, 8),), targets=TARGETS))
    return {"bytes": plan.stat().st_size, "seconds": round(time.perf_counter() - started, 1)}


def timed(row: dict[str, Any], files: Mapping[str, Path], images: Pixels, seconds: float) -> dict[str, float]:
    """Time every file in both engines, without those that don't open or don't answer with finite numbers."""
    opened: dict[str, Path] = {}
    for precision, file in files.items():
        for via in (ONNX_RUNTIME, OPENVINO):
            step, xml = f"{precision}, {via}", file.with_suffix(".xml")
            path = xml if via == OPENVINO else file
            if via == OPENVINO and not _tried(row, step, lambda file=file, xml=xml: write_openvino(file, xml, images)):
                continue
            if _tried(row, step, partial(_answers, path, images)):
                opened[step] = path
    with ExitStack() as held:
        engines = {step: held.enter_context(open_engine(path, threads=1, spin=False)) for step, path in opened.items()}
        calls = {step: partial(engine.infer, images[:1]) for step, engine in engines.items()}
        return {step: round(ms, 3) for step, ms in _processor_ms(calls, seconds).items()}


def _processor_ms(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the median processor time of each call, in ms; all are called in turns, for `seconds` each.

    On a machine that others share, it is what the call would take if it had a core to itself.
    """
    samples: dict[str, list[float]] = {step: [] for step in calls}
    for each in calls.values():  # the first call is of another kind
        each()
    while calls and sum(map(sum, samples.values())) < seconds * len(calls) * 1e3:
        for step, call in calls.items():
            started = time.process_time_ns()
            call()
            samples[step].append((time.process_time_ns() - started) / 1e6)
    return {step: statistics.median(found) for step, found in samples.items()}


def _tried(row: dict[str, Any], step: str, work: Callable[[], object]) -> bool:
    """Do one step, and keep in the row what it found, or why it failed."""
    try:
        found = work()
    except Exception as error:  # of any library: the row says so, and the next backbone follows
        told = re.sub(r"(?<![\w.])/\S*/", "", str(error).strip().partition("\n")[0])  # without folders of this machine
        row.setdefault("failed", {})[step] = f"{type(error).__name__}: {told:.200}"
        return False
    if isinstance(found, dict):
        row[step] = found
    return True


def _answers(path: Path, images: Pixels) -> None:
    with open_engine(path, threads=1, spin=False) as engine:
        if not np.isfinite(engine.infer(images).logits).all():
            raise ValueError("answers numbers that are not finite")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    failed, made, plan, ms = (row.get(key, {}) for key in ("failed", "onnx", "plan", "ms"))
    steps = [f"{precision}, {via}" for precision in ("fp32", "int8") for via in (ONNX_RUNTIME, OPENVINO)]
    no = "no" if made else ""
    return (
        row["name"],
        str(row["side"]),
        f"{made['parameters'] / 1e6:.2f} M" if made else "",
        f"{made['bytes'] / 1e6:.1f} MB" if made else "no" if "onnx" in failed else "",
        f"{made['difference']:.0e}" if made else "",
        f"{plan['bytes'] / 1e6:.1f} MB" if plan else no,
        *(f"{ms[step]:.3g} ms" if step in ms else no for step in steps),
    )


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page: one row for each backbone, and then what failed."""
    rows = result["rows"]
    failed = [f"- {row['name']}, {step}: {why}" for row in rows for step, why in row.get("failed", {}).items()]
    lines = [
        HEAD,
        markdown_table(COLUMNS, map(_cells, rows), words=1),
        "",
        *(["What failed:", "", *failed, ""] if failed else []),
        f"{len(rows)} backbones; each engine was timed for about {result['seconds']:g} s. {versions_of(result)}; "
        f"{result['cpu']}, two shared cores. Made with `python -m benchmarks backbones`.",
        "",
    ]
    return "\n".join(lines)
