"""What each precision costs and saves on trained models: accuracy, drift, and time in every engine of this CPU.

    python benchmarks/precisions.py RUN… [--out docs/results/precisions.json] [--seconds 30]

For each run: export, then every precision with the localizer lowered (all but its head) and with it kept, measured on
the run's validation images; then a race of the files that `lstn calibrate` makes by default, at batch 1 with one
thread, in turns, against float32 in ONNX Runtime.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lstn.calibration.cost import Cost
from lstn.calibration.run import DEFAULT_KEEP, Settings, calibrate
from lstn.commands.export import checkpoint_of, export_onnx
from lstn.export.to_openvino import write_openvino
from lstn.export.verify import sample_images
from lstn.precision import Precision
from lstn.runtime.engine import open_engine
from lstn.runtime.environment import describe_environment
from lstn.runtime.race import Entrant, Race, Run, run_race

KEEPS = ("head", "localizer")
ONNX_RUNTIME, OPENVINO = "ONNX Runtime", "OpenVINO"
REFERENCE = ("fp32", ONNX_RUNTIME)
RUNS_IN = {
    "fp32": (ONNX_RUNTIME, OPENVINO),
    "fp16": (ONNX_RUNTIME, OPENVINO),
    "bf16": (OPENVINO,),
    "int8": (ONNX_RUNTIME, OPENVINO),
    "fp8": (),
}


def main() -> None:
    """Measure every run, and write the figures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/results/precisions.json"))
    parser.add_argument("--seconds", type=float, default=30.0, help="about how long each engine is timed")
    arguments = parser.parse_args()
    models = []
    for run in arguments.runs:
        with TemporaryDirectory() as folder:
            models.append(measure(run, Path(folder), arguments.seconds))
        print(*lines_of(models[-1]), sep="\n", flush=True)
    environment = describe_environment()
    libraries = {name: environment.libraries[name] for name in sorted(environment.libraries) if name in LIBRARIES}
    result = {"cpu": environment.cpu, "load": environment.load, "libraries": libraries, "models": models}
    arguments.out.write_text(json.dumps(result, indent=1))
    arguments.out.with_suffix(".md").write_text(page_of(result))


COLUMNS = (
    "precision", "kept in float32", "top-1", "same top-1", "drift p99", "drift max",
    "changed by warp / backbone alone", "noisiest by themselves",
)  # fmt: skip
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def measure(run: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Export one run, and measure what its precisions cost and how long they take."""
    onnx_file = folder / "model.onnx"
    training = export_onnx(checkpoint_of(run), onnx_file)
    costs, files = [], {"fp32": onnx_file}
    for precision in Precision:
        for keep in KEEPS:
            settings = Settings(precision=precision, data=training.data, seed=training.seed, keep=(keep,))
            made = calibrate(onnx_file, folder / keep, settings)
            cost = made.cost
            contract, height = cost.contract, cost.contract.image_hw[0]
            costs.append(
                {
                    "precision": precision.value,
                    "keep": keep,
                    "default": DEFAULT_KEEP[precision] == (keep,),
                    "images": cost.images,
                    "top1": asdict(cost.top1),
                    "agreement": cost.agreement,
                    "drift": None if cost.drift is None else asdict(cost.drift),
                    "changed": None if cost.changed is None else asdict(cost.changed),
                    "blamed": noisiest(cost),
                }
            )
            if DEFAULT_KEEP[precision] == (keep,):
                files[precision.value] = made.onnx
    race = time(files, folder, training.data, contract.image_hw, seconds)
    what = f"{contract.loc.value} + {contract.backbone}, {height} px, {training.data.split('/')[-1]}"
    return {"model": what, "val_accuracy": training.val_accuracy, "costs": costs, "times": times_of(race)}


def noisiest(cost: Cost) -> list[str]:
    """The three nodes that add most noise by themselves."""
    known = [layer for layer in cost.layers if layer.own_db is not None]
    return [layer.node for layer in sorted(known, key=lambda layer: layer.own_db or 0.0)[:3]]


def time(files: Mapping[str, Path], folder: Path, data: str, image_hw: tuple[int, int], seconds: float) -> Race:
    """Race every file in every engine that runs it."""
    images = sample_images(data, image_hw, seed=0, count=16)
    entrants = []
    for precision, file in files.items():
        for via in RUNS_IN[precision]:
            path = file
            if via == OPENVINO:
                path = folder / f"{file.stem}.xml"
                write_openvino(file, path, images)
            entrants.append(Entrant(precision, via, partial(ready, path, images[:1])))
    return run_race(entrants, seconds=seconds, seed=0)


@contextmanager
def ready(path: Path, pixels: np.ndarray) -> Iterator[Run]:
    """Open an engine with one thread that doesn't spin."""
    with open_engine(path, threads=1, spin=False) as engine:
        yield lambda: engine.infer(pixels)


def times_of(race: Race) -> list[dict[str, Any]]:
    """Median time and ratio to the reference, each with its interval."""
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
    """Lay one model out as two tables of Markdown."""
    yield f"## {model['model']}"
    yield ""
    first = model["costs"][0]
    yield f"float32: top-1 {percent(first['top1']['reference'])} of {first['images']} validation images."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * len(COLUMNS)
    for cost in model["costs"]:
        drift, changed = cost["drift"], cost["changed"]
        kept = f"{cost['keep']}{' (default)' if cost['default'] else ''}"
        yield (
            f"| {cost['precision']} | {kept} | {percent(cost['top1']['lowered'])} | {percent(cost['agreement'])} "
            f"| {drift['p99_px']:.3f} px | {drift['max_px']:.3f} px "
            f"| {percent(changed['warp'])} / {percent(changed['backbone'])} "
            f"| {', '.join(node.partition('/')[0] for node in cost['blamed'])} |"
        )
    yield ""
    yield "| precision (default layers) | engine | time, 95 % interval | times as fast as fp32 in ONNX Runtime |"
    yield "|---|---|---|---|"
    for row in model["times"]:
        yield f"| {row['precision']} | {row['engine']} | {interval(row['ms'])} ms | {interval(row['speedup'])} |"
    yield ""


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# What each precision costs and saves, on trained models",
        "",
        "Cost: `lstn calibrate` on each run's validation images, in ONNX Runtime (bf16, fp8 emulated in float32). The",
        "localizer's head, theta, the grid and the sampler are float32 throughout. Drift is in pixels of the input.",
        "Time: pixels in memory to logits and theta in memory, batch 1, one thread, all in turns, three sittings.",
        "",
    ]
    for model in result["models"]:
        lines += lines_of(model)
    versions = ", ".join(f"{name} {version}" for name, version in result["libraries"].items())
    lines += [f"{result['cpu']}, two shared cores; {versions}. Made with `python benchmarks/precisions.py RUN…`.", ""]
    return "\n".join(lines)


def percent(share: float) -> str:
    """0.915 -> 91.5 %."""
    return f"{100 * share:.1f} %"


def interval(value: Mapping[str, float]) -> str:
    """Median and bounds, to three digits."""
    middle, low, high = value.values()
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


if __name__ == "__main__":
    main()
