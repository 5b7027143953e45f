"""Commands of `lstn` whose system calls fail, and the folder that each starts from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Words = tuple[str, ...]

SIDE = 32
"""Pixels of the images."""

_TRAIN = "train --loc stn --model cnn --data folder:photos --image-size 32 --batch-size 4 --workers 0 --device cpu"
_RUN = "runs/run"
_MODEL = "export runs/other"
"""Makes model.onnx of the other run."""


def unchanged() -> None:
    """Leave the command as it is."""


@dataclass(frozen=True, slots=True)
class FaultCase:
    """A command whose calls fail.

    words:   after `lstn`
    before:  commands that make what it starts from, an older result among it
    removed: of what they made, the file that it doesn't start with
    again:   what completes it after it failed, if that is another command once `begun` is there
    stdout:  a file that its rows go to, as by `>`
    changed: runs before the command, in its process: a function of this module
    quicker: whether it only leaves out what calls no file: all calls are the same, which is checked
    settled: whether rows with an error stay, so that the same command ends as it did
    images:  for training, of each class
    """

    words: Words
    before: tuple[Words, ...]
    again: Words = ()
    begun: str = ""
    removed: str = ""
    stdout: str = ""
    changed: Callable[[], None] = unchanged
    quicker: bool = False
    settled: bool = False
    images: int = 1


def make_photos(folder: Path, images: int) -> None:
    """Write the images of two classes, so many for training and one for each other split: PNG and JPEG files."""
    dice = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 1), ("test", 1)):
        for first, (label, colour) in enumerate((("dark", 60), ("light", 190))):
            (folder / split / label).mkdir(parents=True)
            for number in range(first, first + count):
                noise = dice.integers(-40, 40, (SIDE, SIDE, 3))
                path = folder / split / label / f"{number}.{('png', 'jpg')[number % 2]}"
                Image.fromarray((noise + colour).astype(np.uint8)).save(path)


def answer_here() -> None:
    """Let `lstn infer --ray` compute in its own process: what it writes, and when, stays its own."""
    from lstn.images import DecodeLimits
    from lstn.runtime.engines.opening import open_engine
    from lstn.runtime.inference.predict import predict
    from lstn.runtime.inference.row_text import fields_of
    from lstn.runtime.inference.sources import list_images
    from lstn.runtime.ray import ray_infer
    from lstn.runtime.ray.result_parts import Parts

    class LocalPool:
        def __init__(self, engine: Any) -> None:
            self._engine = engine
            self.contract, self.max_batch = engine.contract, engine.max_batch

        def infer(self, sources: list[str], parts: Parts, *, top: int, least: float, **_: object) -> None:
            paths = [Path(name) for name in list_images(sources)]
            for rows in predict(self._engine, paths, batch=4, top=top, least=least, workers=1, limits=DecodeLimits()):
                parts.add([fields_of(row) for row in rows])
                parts.flush()

    @contextmanager
    def open_pool(_address: str, engine: Path, **_: object) -> Iterator[LocalPool]:
        with open_engine(engine, spin=False) as opened:
            yield LocalPool(opened)

    ray_infer.open_pool = open_pool  # type: ignore[assignment]


def time_briefly() -> None:
    """Let `lstn calibrate` compare the speed of both models for a hundredth of a second each."""
    from lstn.cli.display import calibrate_report

    calibrate_report._RACE_S = 0.01


def draw_nothing() -> None:
    """Let `lstn train` write blank charts."""
    from matplotlib.figure import Figure

    Figure.draw = lambda *_: None  # type: ignore[method-assign]


def trace_once() -> None:
    """Let `lstn export` read the graph that the first such run has traced, from a file that nobody watches."""
    import onnx

    from lstn.export.onnx import to_onnx

    kept, trace = Path.cwd().parent / "traced.onnx", to_onnx.onnx_from_torch

    def traced(*given: Any, **more: Any) -> onnx.ModelProto:
        if not kept.is_file():
            kept.write_bytes(trace(*given, **more).SerializeToString())
        return onnx.load(kept)

    to_onnx.onnx_from_torch = traced


def _words(text: str) -> Words:
    return tuple(text.split())


def _case(text: str, *before: str, again: str = "", begun: str = "", **more: Any) -> FaultCase:
    return FaultCase(_words(text), tuple(map(_words, before)), _words(again), begun, **more)


_CALIBRATE = "calibrate model.onnx --precision int8 --images 8 --force"
_RUNS = (f"{_TRAIN} --epochs 1 --name run", f"{_TRAIN} --epochs 1 --seed 1 --name other")

CASES = {
    "train": _case(
        f"{_TRAIN} --epochs 1 --name run",
        again=f"train --resume {_RUN}",
        begun=f"{_RUN}/last.safetensors",
        changed=draw_nothing,
        quicker=True,
    ),
    "train --resume": _case(
        f"train --resume {_RUN} --epochs 2",
        _RUNS[0],
        again=f"train --resume {_RUN} --epochs 2",
        changed=draw_nothing,
        quicker=True,
    ),
    "export": _case(f"export {_RUN}", *_RUNS, _MODEL, changed=trace_once, quicker=True),
    "export --engine openvino": _case(
        f"export {_RUN} --engine openvino",
        *_RUNS,
        f"{_MODEL} --engine openvino",
        changed=trace_once,
        quicker=True,
    ),
    "calibrate": _case(
        _CALIBRATE,
        *_RUNS,
        f"export {_RUN}",
        _CALIBRATE,
        _MODEL,
        removed="model.minmax.ranges.json",
        changed=time_briefly,
        quicker=True,
        images=4,
    ),
    "infer --output": _case(
        "infer photos/test --engine model.onnx --output rows.csv --warps warps --workers 1",
        _RUNS[1],
        _MODEL,
        "infer photos/val --engine model.onnx --output rows.csv --workers 1",
    ),
    "infer > rows": _case(
        "infer photos/test --engine model.onnx --format jsonl --workers 1", _RUNS[1], _MODEL, stdout="rows.jsonl"
    ),
    "infer --ray, lines": _case(
        "infer photos/test --ray local --engine model.onnx --out rows",
        _RUNS[1],
        _MODEL,
        changed=answer_here,
        settled=True,
    ),
    "infer --ray, parquet": _case(
        "infer photos/test --ray local --engine model.onnx --out rows --format parquet",
        _RUNS[1],
        _MODEL,
        changed=answer_here,
        settled=True,
    ),
    "evaluate": _case(
        "evaluate model.onnx --data folder:photos --json report.json --html report.html",
        _RUNS[1],
        _MODEL,
        "evaluate model.onnx --data folder:photos --split val --json report.json --html report.html",
    ),
}

NEW_MODEL = "new/model.onnx"
SERVED = _case("serve --engine model.onnx --http-port 0 --grpc-port 0", *_RUNS, _MODEL, "export runs/run --out new")
"""A server that is to reload `NEW_MODEL` in the place of its own."""
