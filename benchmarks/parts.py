"""`lstn infer` against its parts: images/s from files to labels, against decoding alone and the engine alone.

    python -m benchmarks parts PHOTOS [--model effnet-b0] [--count 48] [--rounds 8] [--out results/loading/parts.json]

PHOTOS/*/<class>/* are photos in folders by class, such as Caltech-101. They are read as they are, and enlarged to 3 and
12 million pixels as `benchmarks/decode.py` says. The network is untrained, but bent so that it costs what a trained one
does. In each round, in a new order: files to labels, as `lstn infer` does it once it has started; the same files
decoded by the same threads; and the decoded images answered by the engine, in batches of the same size. One round
before is not counted. Decoding and computing share the cores, so the parts allow what they take one after the other.

Needs: photos in folders by class.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.decode import SIZES, enlarged_all
from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, versions_of, write_result
from benchmarks.views import contracts, ready_to_time
from lstn.contract import Contract
from lstn.data.splits import spaced
from lstn.export.onnx.to_onnx import write_onnx
from lstn.export.onnx.verify_onnx import sample_images
from lstn.images import Pixels
from lstn.interval import Interval, mean_interval
from lstn.machine.cores import decoders, usable_cores
from lstn.report.table import markdown_table
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.openvino_engine import open_openvino
from lstn.runtime.inference.decoding import decode_ahead
from lstn.runtime.inference.predict import predict

RESULT = "results/loading/parts.json"
NETWORK = "none, at 224"
"""As `benchmarks/views.py` calls it."""

AS_THEY_ARE = "as they are"
BATCH = 32
ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
WHOLE, DECODING, COMPUTING = "whole", "decoding", "computing"


def main(words: Sequence[str]) -> None:
    """Time the whole and its parts on every size of photos, and write the figures and the page."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="effnet-b0")
    parser.add_argument("--count", type=int, default=48, help="photos of a turn")
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args(words)
    found = sorted(given.photos.glob("*/*/*.jpg"))
    photos = [found[index] for index in spaced(len(found), given.count)]
    with TemporaryDirectory() as folder, ExitStack() as stack:
        engines = opened(given.model, Path(folder), stack)
        seconds = {}
        for size, files in {AS_THEY_ARE: photos, **enlarged(photos, Path(folder))}.items():
            seconds[size] = {name: timed(engine, files, given.rounds) for name, engine in engines.items()}
            print(size, seconds[size], flush=True)
    setting = {"model": given.model, "count": len(photos), "rounds": given.rounds, "decoders": decoders(None)}
    result = setting | {"seconds": seconds, "cores": usable_cores()} | machine_of((*ENGINES, "pillow"))
    print(page_of(result))
    write_result(given.out, result, page_of(result))


def opened(model: str, folder: Path, stack: ExitStack) -> dict[str, Engine]:
    """Export the network, and open it in both libraries."""
    contract = contracts(model)[NETWORK]
    file = folder / "model.onnx"
    write_onnx(ready_to_time(contract), file, contract, sample_images("digits", contract.image_hw, seed=0, count=2))
    return {
        "onnxruntime": stack.enter_context(open_engine(file, spin=False)),
        "openvino": stack.enter_context(open_openvino(file, threads=None)),
    }


def enlarged(photos: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Write the photos at each of the larger sizes."""
    sizes: dict[str, list[Path]] = {}
    for number, (size, pixels) in enumerate(SIZES.items()):
        sizes[size] = []
        for photo, data in enumerate(enlarged_all(list(photos), pixels)):
            sizes[size].append(folder / f"{number}-{photo:03d}.jpg")
            sizes[size][-1].write_bytes(data)
    return sizes


def timed(engine: Engine, files: Sequence[Path], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of the whole and of each part, by round."""
    pixels = decoded(files, engine.contract)
    timers: dict[str, Callable[[], object]] = {
        WHOLE: lambda: answer(engine, files),
        DECODING: lambda: decoded(files, engine.contract),
        COMPUTING: lambda: compute(engine, pixels),
    }
    found: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(rounds + 1):
        for name in random.Random(number).sample(list(timers), len(timers)):
            began = time.perf_counter()
            timers[name]()
            if number:
                found[name].append(time.perf_counter() - began)
    return found


def answer(engine: Engine, files: Sequence[Path]) -> None:
    """Answer the files, as `lstn infer` does."""
    for rows in predict(engine, files, batch=BATCH, workers=decoders(None)):
        assert not any(row.error for row in rows)


def decoded(files: Sequence[Path], contract: Contract) -> Pixels:
    """Decode the files -> (N, H, W, 3) uint8."""
    workers = decoders(None)
    rows = np.empty((len(files), *contract.image_hw, 3), np.uint8)
    for row, (_, pixels) in zip(rows, decode_ahead(files, contract, workers=workers, window=2 * BATCH), strict=True):
        assert isinstance(pixels, np.ndarray)
        row[...] = pixels
    return rows


def compute(engine: Engine, pixels: Pixels) -> None:
    """Answer what was decoded."""
    for start in range(0, len(pixels), BATCH):
        engine.infer(pixels[start : start + BATCH])


def share_of(seconds: Mapping[str, Sequence[float]]) -> Interval:
    """What the parts take one after the other, over what the whole takes: the mean of the rounds."""
    parts = zip(seconds[DECODING], seconds[COMPUTING], seconds[WHOLE], strict=True)
    return mean_interval([(decoding + computing) / whole for decoding, computing, whole in parts])


def page_of(result: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = []
    for size, engines in result["seconds"].items():
        for name, seconds in engines.items():
            rates = [result["count"] / statistics.median(seconds[part]) for part in (DECODING, COMPUTING, WHOLE)]
            rows.append((size, ENGINES[name], *(f"{rate:.0f}" for rate in rates), str(share_of(seconds))))
    columns = ("photos", "engine", "decoding alone", "engine alone", "files to labels", "share of what the parts allow")
    return f"""# What `lstn infer` makes of its parts

`python -m benchmarks parts PHOTOS`: {result["model"]} at 224 pixels, images/s on {result["cores"]} cores, medians of
{result["rounds"]} rounds of {result["count"]} photos, in batches of {BATCH}. Decoding and the engine share the cores,
so they allow together what they take one after the other; the share is that time over the time of `lstn infer`, paired
by round, the mean with its 95 % interval. It is more than 1 where one part uses cores that the other leaves idle.

{markdown_table(columns, rows, words=2)}

{result["cpu"]}, {versions_of(result)}.
"""
