"""Measure what Ray Data costs: `lstn infer --ray local` against `lstn infer`, in images/s after start-up.

    python benchmarks/ray_batch.py MODEL.onnx IMAGES [--count 2000] [--rounds 3] [--json FILE]

The two take turns on the same images, with the batch, engines and decoders that the commands choose by themselves.
Neither is timed before its first 512 rows are there, by when each of two engines has answered a piece, nor after its
last. What Ray's engines may have had in work at that moment, a piece, is not counted for it: its figure is a lower
bound for two engines. IMAGES holds 512 images more than are counted.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from lstn.commands.infer import batch_size
from lstn.cores import usable_cores
from lstn.gpu import Device
from lstn.images import find_images
from lstn.runtime.engine import open_engine
from lstn.runtime.environment import describe_environment
from lstn.runtime.parts import Fields, Parts, run_of
from lstn.runtime.predict import predict
from lstn.runtime.ray_infer import open_pool

WARM_UP = 512
IN_WORK = 256
MAX_WORKERS = 8  # as `lstn infer` has it


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


def main() -> None:
    """Take turns, print, and keep the samples if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the samples to this file")
    arguments = parser.parse_args()
    images = find_images([arguments.images])[: arguments.count + WARM_UP]
    if len(images) < arguments.count + WARM_UP:
        parser.error(f"{arguments.images} holds {len(images)} images; wanted {arguments.count + WARM_UP}")

    ways: dict[str, Callable[[Path, Sequence[Path]], float]] = {"plain": plain, "ray": on_ray}
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(arguments.rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            samples[name].append(ways[name](arguments.model, images))
            print(f"{name:6} {samples[name][-1]:8.1f} images/s", flush=True)
    ratios = [ray / alone for ray, alone in zip(samples["ray"], samples["plain"], strict=True)]
    print(f"ray / plain: median {statistics.median(ratios):.3f}, of {[round(ratio, 3) for ratio in ratios]}")
    if arguments.json:
        told = {"model": arguments.model.name, "count": arguments.count, "images_per_s": samples, "ratios": ratios}
        environment = asdict(describe_environment())
        arguments.json.write_text(json.dumps(told | {"environment": environment}, indent=1) + "\n")


def plain(model: Path, images: Sequence[Path]) -> float:
    """Return the images/s of the pipeline of one process."""
    clock = Clock()
    with open_engine(model, spin=False) as engine:
        workers = min(MAX_WORKERS, usable_cores())
        rows = predict(engine, images, batch=batch_size(None, engine, model), top=1, workers=workers)
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
        size = batch_size(None, pool, model)
        pool.infer([str(path) for path in images], parts, batch=size, top=1, workers=None)
        parts.flush()
    return clock.images_per_s(unearned=IN_WORK)


if __name__ == "__main__":
    main()
