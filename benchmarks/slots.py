"""Measure what decoding into an engine's slots gains against putting batches together: `lstn infer`, before and now.

    git worktree add /tmp/before COMMIT
    python -m benchmarks slots --before /tmp/before ENGINE.onnx … [--batch 32,256] [--images 768] [--rounds 15]
                               [--out results/serving/slots.json]

- Images/s: what `lstn infer` does once it has started, of the tree COMMIT and of this one, on the same drawn JPEGs, a
  quarter larger than the model's input. Both processes stay open and take turns. ENGINE runs in ONNX Runtime and in
  OpenVINO.
- The host's share: processor time that the thread which calls the engine takes for an image, where the engine answers
  at once and every image is decoded already.

Needs: an older checkout, and ONNX files such as `lstn export zoo:signs` writes.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from lstn.formats.onnx_file import read_model
from lstn.interval import Interval
from lstn.machine.cores import usable_cores
from lstn.report.table import markdown_table
from lstn.runtime.bench.race import median_interval

RESULT = "results/serving/slots.json"
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "pillow")
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
HOST_BATCH = 256
ROOT = Path(__file__).resolve().parents[1]

DRIVER = """
import json, sys, time
from contextlib import nullcontext
from pathlib import Path
import numpy as np
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.openvino_engine import open_openvino
from lstn.runtime.inference import predict as module
from lstn.testing import FakeEngine

library, engine, folder, batch, workers = sys.argv[1:]
images = sorted(Path(folder).iterdir())
if library == "host":
    from lstn.formats.onnx_file import read_model
    from lstn import Prediction
    contract = read_model(Path(engine))[0]
    decoded = np.zeros((*contract.image_hw, 3), np.uint8)
    holder = module
    if not hasattr(module, "decode"):
        from lstn.runtime.inference import decoding as holder
    holder.decode = lambda *_, **__: decoded
    def answer(pixels):
        theta = np.zeros((len(pixels), *contract.theta_shape), np.float32)
        return Prediction(np.zeros((len(pixels), len(contract.labels)), np.float32), theta)
    class AtOnce(FakeEngine):
        def infer(self, pixels):
            return answer(pixels)
    opening = nullcontext(AtOnce(contract, answer, max_batch=1024))
elif library == "openvino":
    opening = open_openvino(Path(engine), threads=None)
else:
    opening = open_engine(Path(engine), spin=False)
with opening as opened:
    for _ in sys.stdin:
        wall, own, cpu = time.perf_counter(), time.thread_time(), time.process_time()
        for rows in module.predict(opened, images, batch=int(batch), top=1, workers=int(workers)):
            assert not any(row.error for row in rows)
        took = time.perf_counter() - wall, time.thread_time() - own, time.process_time() - cpu
        print(json.dumps(took), flush=True)
"""
"""What `lstn infer` does once it has started, as often as it is told to."""


def main(words: Sequence[str]) -> None:
    """Measure every engine at every batch size, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("engines", type=Path, nargs="+", metavar="ENGINE.onnx")
    parser.add_argument("--before", type=Path, required=True, metavar="TREE")
    parser.add_argument("--batch", default="32,256")
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args(words)
    cases = []
    for engine in arguments.engines:
        side = read_model(engine)[0].image_hw[0]
        with TemporaryDirectory() as folder:
            draw(Path(folder), arguments.images, side * 5 // 4)
            for library in (*NAMES, "host"):
                for batch in [HOST_BATCH] if library == "host" else map(int, arguments.batch.split(",")):
                    case = {"engine": engine.stem, "side": side, "via": library, "batch": batch}
                    cases.append(case | compare(arguments, [library, str(engine.resolve()), folder, str(batch)]))
                    print(cases[-1], flush=True)
    result = {"images": arguments.images, "rounds": arguments.rounds, "cases": cases, "cores": usable_cores()}
    result |= machine_of(LIBRARIES)
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))


def page_of(result: Mapping[str, Any]) -> str:
    """Return the result in Markdown."""
    speeds = [
        (each["engine"], each["side"], NAMES[each["via"]], each["batch"], *_rates(each), *_ratios(each))
        for each in result["cases"]
        if each["via"] in NAMES
    ]
    shares = [
        (each["engine"], each["side"], *(f"{each[when]:.1f}" for when in ("before", "now")), Interval(**each["ratio"]))
        for each in result["cases"]
        if each["via"] == "host"
    ]
    lines = [
        "# What decoding into slots gains",
        "",
        f"`python -m benchmarks slots`: `lstn infer` on {result['images']} drawn JPEGs, against the commit before",
        f"slots, {result['rounds']} pairs of turns. Medians; ratios are of paired turns, with their 95 % intervals.",
        "",
        markdown_table(
            ("model", "pixels", "via", "batch", "images/s before", "now", "times as fast", "processor time"), speeds
        ),
        "",
        f"Microseconds of the thread that calls the engine, for an image in batches of {HOST_BATCH}, where nothing is",
        "left to decode and the engine answers at once:",
        "",
        markdown_table(("model", "pixels", "before", "now", "ratio"), shares),
        "",
        f"{result['cpu']}, {result['cores']} cores, {versions_of(result)}.",
    ]
    return "\n".join(lines) + "\n"


def _ratios(case: Mapping[str, Any]) -> list[Interval]:
    return [Interval(**case[key]) for key in ("ratio", "cpu_ratio")]


def _rates(case: Mapping[str, Any]) -> tuple[str, str]:
    return f"{case['before']:.0f}", f"{case['now']:.0f}"


def draw(folder: Path, count: int, side: int) -> None:
    """Write smooth random pictures as JPEGs of quality 90."""
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.jpg", quality=90)


def compare(arguments: argparse.Namespace, given: list[str]) -> dict[str, Any]:
    """Return the median figures of both trees in paired turns, and ratios; two turns are a warm-up.

    The figure is images/s, and its ratio that of now to before; of `host` it is the thread's microseconds an image.
    cpu_ratio is of the processor time of all threads.
    """
    trees = {"before": arguments.before.resolve(), "now": ROOT}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in trees}
    with ExitStack() as stack:
        drivers = {name: stack.enter_context(_driver(tree, given)) for name, tree in trees.items()}
        for number in range(-2, arguments.rounds):
            for name in list(trees)[:: 1 if number % 2 else -1]:
                stdin, stdout = drivers[name].stdin, drivers[name].stdout
                assert stdin is not None
                assert stdout is not None
                print("go", file=stdin, flush=True)
                took = json.loads(stdout.readline())
                if number >= 0:
                    found[name].append(took)
    walls, owns, cpus = ({name: np.array(every)[:, of] for name, every in found.items()} for of in range(3))
    figures = {name: 1e6 * owns[name] / arguments.images for name in trees}
    if given[0] != "host":
        figures = {name: arguments.images / walls[name] for name in trees}
    ratio, cpu_ratio = (median_interval([each["now"] / each["before"]], seed=0) for each in (figures, cpus))
    medians = {name: float(np.median(every)) for name, every in figures.items()}
    return medians | {"ratio": asdict(ratio), "cpu_ratio": asdict(cpu_ratio), "seconds": found}


def _driver(tree: Path, given: list[str]) -> subprocess.Popen[str]:
    """Start one tree's driver, which ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *given, str(min(8, usable_cores()))],
        cwd=tree,  # which -c looks into first
        env=os.environ | {"PYTHONPATH": str(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
