"""Measure what Ray Data costs: `lstn infer --ray local` against `lstn infer`, in images/s after start-up.

    python -m benchmarks ray_batch IMAGES MODEL.onnx… [--count 2000] [--rounds 3] [--out FILE]

The two take turns on the same images, with the batch, engines and decoders that the commands choose by themselves.
Neither is timed before its first 512 rows are there, by when each of two engines has answered a piece, nor after its
last. What Ray's engines may have had in work at that moment, a piece, is not counted for it: its figure is a lower
bound for two engines. IMAGES holds 512 images more than are counted.

Needs: a folder of images, ONNX files, and Ray.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, page_of_models, spread, versions_of, write_result
from lstn.data.folders.listing import Skipped, images_below
from lstn.images import USUAL
from lstn.machine.cores import usable_cores
from lstn.machine.gpu import Device
from lstn.report.table import markdown_table
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.inference.predict import batch_size, predict
from lstn.runtime.ray.ray_infer import open_pool
from lstn.runtime.ray.result_parts import Fields, Parts, run_of

RESULT = "results/clusters/ray_batch.json"
WARM_UP = 512
IN_WORK = 256
MAX_WORKERS = 8  # as `lstn infer` has it
LIBRARIES = ("onnxruntime", "onnxruntime-gpu")

HEAD = """# What Ray costs on one machine

`lstn infer --ray local` against a plain `lstn infer` on the same JPEG files, in turns; images/s after the first 512, by
when both have started. Medians, from the lowest to the highest round; each ratio is of two runs next to each other.
"""

COLUMNS = ("model", "images", "plain", "Ray", "Ray / plain")


class Clock:
    """When how many rows were there."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, float]] = []

    def count(self, rows: int) -> None:
        """Note that so many rows more are there."""
        before = self._seen[-1][0] if self._seen else 0
        self._seen.append((before + rows, time.perf_counter()))

    def images_per_s(self, *, unearned: int = 0) -> float:
        """Of the rows after the warm-up, less those that somebody had begun before."""
        first = next(moment for moment in self._seen if moment[0] >= WARM_UP)
        last = self._seen[-1]
        return (last[0] - first[0] - unearned) / (last[1] - first[1])


class TimedParts(Parts):
    """Parts that note when rows come."""

    clock: Clock

    def add(self, rows: Sequence[Fields]) -> int:
        """Add rows, and count them."""
        added = super().add(rows)
        self.clock.count(added)
        return added


def main(words: Sequence[str]) -> None:
    """Take turns with every model, print, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("images", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(words)
    images = list(islice(images_below(arguments.images, Skipped()), arguments.count + WARM_UP))
    if len(images) < arguments.count + WARM_UP:
        parser.error(f"{arguments.images} holds {len(images)} images; expected {arguments.count + WARM_UP}")
    models = [measure(model, images, arguments.rounds) for model in arguments.models]
    result = {"count": arguments.count, "models": models, "cores": usable_cores(), **machine_of(LIBRARIES)}
    result["libraries"]["ray"] = version("ray")
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))


def measure(model: Path, images: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Let the two take turns."""
    ways: dict[str, Callable[[Path, Sequence[Path]], float]] = {"plain": plain, "ray": on_ray}
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            samples[name].append(ways[name](model, images))
            print(f"{model.stem}: {name:6} {samples[name][-1]:8.1f} images/s", flush=True)
    ratios = [ray / alone for ray, alone in zip(samples["ray"], samples["plain"], strict=True)]
    return {"model": model.stem, "images_per_s": samples, "ratios": ratios}


def page_of(result: dict[str, Any]) -> str:
    """Return the page."""
    foot = (
        f"\n{result['cpu']}, {result['cores']} cores, {versions_of(result)}. Made with "
        "`python -m benchmarks ray_batch IMAGES MODEL.onnx…`."
    )
    table = markdown_table(COLUMNS, (_cells(model, result["count"]) for model in result["models"]))
    return page_of_models(HEAD, [[table]], foot)


def _cells(model: dict[str, Any], count: int) -> tuple[object, ...]:
    alone, ray = (spread(model["images_per_s"][name], 0) for name in ("plain", "ray"))
    return model["model"], count, alone, ray, spread(model["ratios"], 2)


def plain(model: Path, images: Sequence[Path]) -> float:
    """Return the images/s of the pipeline of one process."""
    clock = Clock()
    with open_engine(model, spin=False) as engine:
        workers = min(MAX_WORKERS, usable_cores())
        rows = predict(
            engine, images, batch=batch_size(None, engine.contract, engine.max_batch, model), top=1, workers=workers
        )
        with closing(rows):
            for batch in rows:
                clock.count(len(batch))
    return clock.images_per_s()


def on_ray(model: Path, images: Sequence[Path]) -> float:
    """Return the images/s of the pipeline on a local cluster."""
    clock = Clock()
    with TemporaryDirectory() as folder, open_pool("local", model, device=Device.AUTO, threads=None) as pool:
        parts = TimedParts(Path(folder), run_of(model, top=1, format_="json"))
        parts.clock = clock
        size = batch_size(None, pool.contract, pool.max_batch, model)
        pool.infer([str(path) for path in images], parts, batch=size, top=1, least=0.0, workers=None, limits=USUAL)
        parts.flush()
    return clock.images_per_s(unearned=IN_WORK)
