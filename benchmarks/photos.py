"""What a small crop is worth where photos are decoded first: images/s of `lstn infer`, files to labels.

    python -m benchmarks photos PHOTOS [--model effnet-b0] [--count 24] [--rounds 8] [--out results/views/photos.json]

PHOTOS/*/<class>/* are photos in folders by class, such as Caltech-101, enlarged to 3 and 12 million pixels as
`benchmarks/decode.py` says. The networks are untrained, but bent so that they cost what trained ones do. All engines
are open at once and classify the same files in turn, in a new order each round, after one round that is not counted.

Needs: photos in folders by class.
"""

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.decode import SIZES, enlarged_all
from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.views import contracts, ready_to_time
from lstn.data.splits import spaced
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.interval import mean_interval
from lstn.machine.cores import decoders
from lstn.report.table import markdown_table
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.inference.predict import predict

RESULT = "results/views/photos.json"
NETWORKS = ("none, at 224", "glance, at 224, view 56, crop 112", "glance, at 448, view 64, crop 112", "none, at 448")
"""As `benchmarks/views.py` calls them; the first is what the others are compared with."""

BATCH = 32


def main(words: Sequence[str]) -> None:
    """Time every network on both sizes of photos, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="effnet-b0")
    parser.add_argument("--count", type=int, default=24, help="photos of a turn")
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args(words)
    found = sorted(given.photos.glob("*/*/*.jpg"))
    photos = [found[index] for index in spaced(len(found), given.count)]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        engines = {name: stack.enter_context(opened(given.model, name, Path(folder))) for name in NETWORKS}
        sizes = {}
        for size, pixels in SIZES.items():
            files = []
            for number, data in enumerate(enlarged_all(photos, pixels)):
                files.append(Path(folder, f"{size[:2].strip()}-{number:03d}.jpg"))
                files[-1].write_bytes(data)
            sizes[size] = rates(engines, files, given.rounds)
            print(size, sizes[size], flush=True)
    setting = {"model": given.model, "count": len(photos), "rounds": given.rounds, "decoders": decoders(None)}
    result = setting | {"sizes": sizes} | machine_of(("onnxruntime", "pillow"))
    print(page_of(result))
    write_result(given.out, result, page_of(result))


def opened(model: str, name: str, folder: Path) -> Any:
    """Export a network, and open it in ONNX Runtime."""
    contract = contracts(model)[name]
    file = folder / f"{NETWORKS.index(name)}.onnx"
    write_onnx(ready_to_time(contract), file, contract, sample_images("digits", contract.image_hw, seed=0, count=2))
    return open_engine(file, spin=False)


def rates(engines: Mapping[str, Engine], files: Sequence[Path], rounds: int) -> dict[str, list[float]]:
    """Return images/s of every engine in each round."""
    found: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(rounds + 1):
        for name in random.Random(number).sample(list(engines), len(engines)):
            began = time.perf_counter()
            rows = [row for rows in predict(engines[name], files, batch=BATCH, workers=decoders(None)) for row in rows]
            assert not any(row.error for row in rows)
            if number:
                found[name].append(len(files) / (time.perf_counter() - began))
    return found


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = []
    for size, found in result["sizes"].items():
        first = found[NETWORKS[0]]
        for name in NETWORKS:
            ratio = mean_interval([own / other for own, other in zip(found[name], first, strict=True)])
            shown = "" if name == NETWORKS[0] else str(ratio)
            rows.append((size, name, f"{statistics.median(found[name]):.1f}", shown))
    return f"""# What a small crop is worth on photos

`python -m benchmarks photos`: {result["model"]}, ONNX Runtime, JPEG files to labels as `lstn infer` does it,
{result["decoders"]} threads that decode, {result["count"]} photos a turn, {result["rounds"]} rounds. Medians; ratios
to the first network are paired by round, means with their 95 % interval. A JPEG is decoded at 1/2, 1/4 or 1/8 of its
size where that still covers twice what the model takes, so a model of 448 pixels reads more of it than one of 224.

{markdown_table(("photos", "network", "images/s", "times the first"), rows, words=2)}

{result["cpu"]}, {versions_of(result)}.
"""
