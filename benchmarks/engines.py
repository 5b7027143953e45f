"""Times of each precision in every engine of this CPU, from pixels in memory to logits and theta in memory.

    python -m benchmarks engines RUN… [--out results/precision/engines.json] [--seconds 30]

For each run: export, lower to every precision as `lstn calibrate` does by default, and race the files at batch 1 with
one thread, all in turns and in three sittings, against float32 in ONNX Runtime.

Needs: runs of `lstn train`, and OpenVINO.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, page_of_models, versions_of, write_result
from lstn.calibration.calibrating import DEFAULT_KEEP, IMAGES
from lstn.calibration.kept_layers import kept_layers, layer_names
from lstn.calibration.lower import lowered_model
from lstn.calibration.ranges import Ranges, ranges_of
from lstn.data.dataset import open_data
from lstn.export.onnx.from_checkpoint import export_checkpoint
from lstn.export.onnx.verify_onnx import sample_images
from lstn.export.openvino.to_openvino import write_openvino
from lstn.formats.onnx_file import read_model
from lstn.health.run_files import checkpoint_of
from lstn.machine.environment import describe_environment
from lstn.nn.checkpoint import load_checkpoint
from lstn.precision import Precision, RangeMethod
from lstn.report.table import markdown_table
from lstn.runtime.bench.race import Entrant, Race, TimedCall, run_race
from lstn.runtime.engines.opening import open_engine

RESULT = "results/precision/engines.json"
ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
REFERENCE = ("fp32", ONNX_RUNTIME)
RUNS_IN = {
    "fp32": (ONNX_RUNTIME, OPENVINO),
    "fp16": (ONNX_RUNTIME, OPENVINO),
    "bf16": (OPENVINO,),
    "int8": (ONNX_RUNTIME, OPENVINO),
}
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino")

HEAD = """# How long each precision takes on a CPU

Pixels in memory to logits and theta in memory, batch 1, one thread, all engines in turns within one loop, in
three sittings. Layers are lowered as `lstn calibrate` does by default. The times are of a machine that
others share; the ratios are paired, and so of the same moments.
"""


def main(words: Sequence[str]) -> None:
    """Race every run's files, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=30.0, help="about how long each engine is timed")
    arguments = parser.parse_args(words)
    models = []
    for run in arguments.runs:
        with TemporaryDirectory() as folder:
            models.append(measure(run, Path(folder), arguments.seconds))
        print(*lines_of(models[-1]), sep="\n", flush=True)
    result = machine_of(LIBRARIES) | {"models": models}
    write_result(arguments.out, result, page_of(result))


def measure(run: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Export and lower one run, and race what came of it."""
    onnx_file = folder / "model.onnx"
    checkpoint = load_checkpoint(checkpoint_of(run))
    training = checkpoint.training
    export_checkpoint(checkpoint, onnx_file)
    contract, _ = read_model(onnx_file)
    data = open_data(training.data, image_hw=contract.image_hw, seed=training.seed)
    cache = folder / "ranges.json"
    ranges = ranges_of(onnx_file, data.train, method=RangeMethod.MINMAX, count=IMAGES, seed=training.seed, cache=cache)
    images = sample_images(training.data, contract.image_hw, seed=training.seed)
    load = describe_environment().load
    race = run_race(list(entrants_of(onnx_file, folder, ranges, images)), seconds=seconds, seed=0)
    what = f"{contract.loc.value} + {contract.backbone}, {contract.image_hw[0]} px"
    return {"model": what, "load": load, "seconds": seconds, "times": times_of(race)}


def entrants_of(onnx_file: Path, folder: Path, ranges: Ranges, images: np.ndarray) -> Iterator[Entrant]:
    """Write every precision for every engine that runs it."""
    exact = onnx.load(onnx_file)
    for precision, engines in RUNS_IN.items():
        file = onnx_file
        if precision != "fp32":
            chosen = Precision(precision)
            kept = kept_layers(layer_names(exact), DEFAULT_KEEP[chosen])
            file = folder / f"model.{precision}.onnx"
            lowered = lowered_model(exact, chosen, kept, ranges if chosen.quantized else None)
            file.write_bytes(lowered.SerializeToString())
        for via in engines:
            path = file
            if via == OPENVINO:
                path = folder / f"{file.stem}.xml"
                write_openvino(file, path, images)
            yield Entrant(precision, via, partial(ready, path, images[:1]))


@contextmanager
def ready(path: Path, pixels: np.ndarray) -> Iterator[TimedCall]:
    """Open an engine with one thread that doesn't spin."""
    with open_engine(path, threads=1, spin=False) as engine:
        yield lambda: engine.infer(pixels)


def times_of(race: Race) -> list[dict[str, Any]]:
    """Median time and how many times as fast as the reference, each with its interval."""
    return [
        {
            "precision": name[0],
            "engine": name[1],
            "ms": asdict(race.time_ms(name)),
            "speedup": asdict(race.ratio(REFERENCE, name)),
        }
        for name in race.names
    ]


def lines_of(model: Mapping[str, Any]) -> Iterator[str]:
    """Lay one model out as a table of Markdown."""
    yield f"## {model['model']}"
    yield ""
    columns = ("precision", "engine", "time, 95 % interval", "times as fast as fp32 in ONNX Runtime")
    rows = [(r["precision"], r["engine"], f"{interval(r['ms'])} ms", interval(r["speedup"])) for r in model["times"]]
    yield markdown_table(columns, rows, words=2)
    yield ""
    yield f"Load at the start {model['load']}; each was timed for about {model['seconds']:g} s."
    yield ""


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    machine = f"{result['cpu']}, two shared cores; {versions_of(result)}"
    foot = f"{machine}. Made with `python -m benchmarks engines RUN…`."
    return page_of_models(HEAD, map(lines_of, result["models"]), foot)


def interval(value: Mapping[str, float]) -> str:
    """Median and bounds, to three digits."""
    middle, low, high = value.values()
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"
