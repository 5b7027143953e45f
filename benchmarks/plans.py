"""Build every localizer with four backbones in every precision for GPUs that needn't be there; tabulate the files.

    python -m benchmarks plans [--out results/precision/plans.json] [--backbones cnn,resnet-18] [--locs stn,vstn,lstn]

Weights are random, since neither a file's size nor what reaches which layer depends on them. Each plan is for sm86,
sm89 and sm120 at once (fp8: the last two), batch 1 to 32, by TensorRT for RTX, which needs no GPU to build. What runs
in ONNX Runtime is run, on the CPU.

Needs: TensorRT for RTX, but no GPU.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import versions_of, write_result
from lstn.calibration.calibrating import DEFAULT_KEEP
from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.lower import lowered_model
from lstn.calibration.ranges import Ranges, ranges_of
from lstn.contract import PIXELS, Contract, Loc
from lstn.data.dataset import open_data
from lstn.data.digits import DIGIT_LABELS
from lstn.errors import LstnError
from lstn.export.onnx.to_onnx import onnx_from_torch
from lstn.export.tensorrt.builder import count_parsed_layers
from lstn.export.tensorrt.builder_flags import BatchRange, BuildSettings
from lstn.export.tensorrt.to_plan import write_plan
from lstn.formats.plan_file import Flavour
from lstn.machine.environment import describe_environment
from lstn.nn.backbones import backbone_named
from lstn.nn.classifier import Classifier
from lstn.precision import Precision, RangeMethod
from lstn.report.table import markdown_table

RESULT = "results/precision/plans.json"
BACKBONES = "cnn,resnet-18,effnet-b0,densenet-121"
LOCS = "stn,vstn,lstn"
TARGETS = ("sm86", "sm89", "sm120")
FP8_TARGETS = TARGETS[1:]
PROFILE = BatchRange(1, 8, 32)
RANGE_IMAGES = 8
COLUMNS = (
    "localizer", "backbone", "precision", "sampler", "model.onnx", "in ONNX Runtime", "plan", "built in",
    "convolutions and products", "kernels",
)  # fmt: skip
WEIGHTED = ("CONVOLUTION", "MATRIX_MULTIPLY")
COMPUTES_NOTHING = frozenset({"signal", "wait", "shape_call"})
"""Entries of a plan that order the kernels, or reckon sizes on the CPU."""

HEAD = """# Every localizer, backbone and precision as a plan

Built without a GPU by TensorRT for RTX, for sm86, sm89 and sm120 in one plan (fp8: sm89 and sm120), batch 1
to 32; weights are random. What stays float32 is what `lstn calibrate` keeps by default. Convolutions and
products: in which type TensorRT's network computes them; FLOAT are the localizer's and, in a quantized
model, what no Q/DQ pairs surround. Kernels: how many the plan calls, by TensorRT's own list in the build log.
In 8 bits they are more than in fp16, since TensorRT for RTX applies the scales of weights, the bias and the
activation in a kernel of their own, and writes float32 between the two.
"""


def main(words: Sequence[str]) -> None:
    """Build, print a line for each plan, and write the table."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--backbones", default=BACKBONES)
    parser.add_argument("--locs", default=LOCS)
    arguments = parser.parse_args(words)
    rows = []
    with TemporaryDirectory() as folder:
        for backbone in arguments.backbones.split(","):
            for loc in arguments.locs.split(","):
                for row in rows_of(Loc(loc), backbone, Path(folder)):
                    print(line_of(row), flush=True)
                    rows.append(row)
    environment = describe_environment()
    libraries = {name: environment.libraries.get(name) for name in ("tensorrt-rtx", "onnxruntime", "onnxruntime-gpu")}
    result = {"cpu": environment.cpu, "libraries": libraries, "targets": TARGETS, "rows": rows}
    write_result(arguments.out, result, page_of(result))


def rows_of(loc: Loc, backbone: str, folder: Path) -> Iterator[dict[str, object]]:
    """Yield what came of each precision and sampler of one model."""
    side = backbone_named(backbone).image_size
    contract = Contract(loc, backbone, (side, side), DIGIT_LABELS)
    torch.manual_seed(0)
    model = Classifier(contract).eval()
    path = folder / "model.onnx"
    exact = onnx_from_torch(model, contract)
    path.write_bytes(exact.SerializeToString())
    cache = folder / f"{loc.value}-{backbone}.json"
    train = open_data("digits", image_hw=(side, side)).train
    ranges = ranges_of(path, train, method=RangeMethod.MINMAX, count=RANGE_IMAGES, seed=0, cache=cache)
    fused = onnx_from_torch(model, contract, fused=True)
    for name, sampler, proto in (
        ("fp32", "native", exact),
        ("fp32", "fused", fused),
        *((p.value, "native", lowered(exact, p, ranges)) for p in Precision),
    ):
        yield {"loc": loc.value, "backbone": backbone, "precision": name, "sampler": sampler, **measure(proto, folder)}


def lowered(exact: onnx.ModelProto, precision: Precision, ranges: Ranges) -> onnx.ModelProto:
    """Lower a model as `lstn calibrate` does by default."""
    kept = kept_layers(layer_names(exact), DEFAULT_KEEP[precision])
    return lowered_model(exact, precision, kept, ranges if precision.quantized else None)


def measure(proto: onnx.ModelProto, folder: Path) -> dict[str, object]:
    """Write, run and build one model."""
    file, plan = folder / "lowered.onnx", folder / "lowered.plan"
    file.write_bytes(proto.SerializeToString())
    types = count_parsed_layers(file, flavour=Flavour.TRT_RTX)
    targets = FP8_TARGETS if any(precision == "FP8" for _, precision in types) else TARGETS
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    started = time.perf_counter()
    try:
        settings = BuildSettings(flavour=Flavour.TRT_RTX, profiles=(PROFILE,), targets=targets, log_file=log)
        write_plan(file, plan, settings)
        seconds, size, error = time.perf_counter() - started, plan.stat().st_size, ""
    except LstnError as failure:
        seconds, size, error = time.perf_counter() - started, 0, failure.message
    return {
        "onnx_bytes": file.stat().st_size,
        "onnx_runtime": runs(proto),
        "plan_bytes": size,
        "targets": targets,
        "seconds": round(seconds, 2),
        "weighted": weighted(types),
        "kernels": kernels(log.read_text()),
        "layers": {f"{kind} {precision}": count for (kind, precision), count in sorted(types.items())},
        "error": error,
    }


def runs(proto: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime's CPU provider answers two images with finite numbers."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    height, width = (size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim[1:3])
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return all(bool(np.isfinite(values).all()) for values in session.run(None, {PIXELS: pixels}))
    except Exception:  # ONNX Runtime's classes have no base of their own
        return False


def weighted(types: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Precision -> how many convolutions and matrix products are computed in it."""
    found: dict[str, int] = {}
    for (kind, precision), count in types.items():
        if kind in WEIGHTED:
            found[precision] = found.get(precision, 0) + count
    return found


def kernels(log: str) -> int:
    """Return how many kernels a plan calls: the entries that TensorRT lists when it is built, but those that wait."""
    return sum(kind not in COMPUTES_NOTHING for kind in re.findall(r"LayerType: (\w+)", log))


def line_of(row: Mapping[str, object]) -> str:
    """One line of progress."""
    what = f"{row['loc']} + {row['backbone']}, {row['precision']}, {row['sampler']}"
    return f"{what}: {row['error'] or row['weighted']} plan {row['plan_bytes']} bytes in {row['seconds']} s"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["loc"],
        row["backbone"],
        row["precision"],
        row["sampler"],
        f"{row['onnx_bytes'] / 1e6:.1f} MB",
        "runs" if row["onnx_runtime"] else "no kernels",
        f"{row['plan_bytes'] / 1e6:.1f} MB" if row["plan_bytes"] else f"not built: {row['error']:.80}",
        f"{row['seconds']:.1f} s",
        ", ".join(f"{count} {kind}" for kind, count in sorted(row["weighted"].items())),
        f"{row['kernels']}",
    )


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page: one row for each plan."""
    lines = [
        HEAD,
        markdown_table(COLUMNS, map(_cells, result["rows"]), words=len(COLUMNS)),
        "",
        f"{versions_of(result)}; {result['cpu']}, two shared cores. Made with `python -m benchmarks plans`.",
        "",
    ]
    return "\n".join(lines)
