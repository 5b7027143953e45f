"""A model of ten thousand classes, from its folder to its answers over HTTP."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support.loads.made_models import write_pictures
from benchmarks.support.loads.measured_run import LoadRow, answered, mb, run_lstn
from benchmarks.support.loads.served import served_answers

CLASSES = 10_000
_PICTURES = 50


def many_classes(folder: Path) -> Iterator[LoadRow]:
    """Train for an epoch, export, lower, measure, answer, serve."""
    pictures = write_pictures(folder / "pictures", _PICTURES)
    _fill(folder / "set", pictures)
    words = ("--data", "folder:set", "--model", "cnn", "--image-size", 32, "--batch-size", 256, "--workers", 1)
    ended = run_lstn("train", *words, "--epochs", 1, "--name", "many", cwd=folder)
    yield answered("`lstn train --epochs 1`", ended)
    ended = run_lstn("export", "runs/many", cwd=folder)
    yield answered("`lstn export RUN`", ended, f"model.onnx {mb(folder / 'model.onnx')}")
    ended = run_lstn("export", "model.onnx", "--engine", "openvino", cwd=folder)
    yield answered("`lstn export model.onnx --engine openvino`", ended, f"model.xml {mb(folder / 'model.xml')}")
    yield answered("`lstn calibrate model.onnx`", run_lstn("calibrate", "model.onnx", "--force", cwd=folder))
    words = ("model.onnx", "--data", "folder:set", "--split", "val", "--json", "all.json", "--html", "all.html")
    ended = run_lstn("evaluate", *words, cwd=folder)
    sizes = ", ".join(f"{name} {mb(folder / name)}" for name in ("all.json", "all.html") if (folder / name).exists())
    yield answered("`lstn evaluate model.onnx --json all.json --html all.html`", ended, sizes)
    for suffix in ("json", "csv"):
        rows = folder / f"rows.{suffix}"
        ended = run_lstn("infer", "pictures", "--engine", "model.onnx", "--top", 5, "--output", rows, cwd=folder)
        yield answered(f"`lstn infer {_PICTURES} images --top 5 --output rows.{suffix}`", ended, mb(rows))
    rows = folder / "every.json"
    ended = run_lstn("infer", "pictures", "--engine", "model.onnx", "--top", CLASSES, "--output", rows, cwd=folder)
    wrong = "" if ended.code or len(json.loads(rows.read_text())[0]["top"]) == CLASSES else "labels are missing"
    yield answered(f"`lstn infer {_PICTURES} images --top {CLASSES}`", ended, mb(rows), wrong)
    yield answered("`lstn inspect model.onnx`", run_lstn("inspect", "model.onnx", cwd=folder))
    yield answered("`lstn doctor RUN`", run_lstn("doctor", "runs/many", cwd=folder))
    yield answered("`lstn doctor --data folder:FOLDER`", run_lstn("doctor", "--data", "folder:set", cwd=folder))
    yield from served_answers(folder / "model.onnx", pictures[0])


def _fill(folder: Path, pictures: list[Path]) -> None:
    """Link a training image and a validation image for each class."""
    for number in range(CLASSES):
        for split in ("train", "val"):
            names = folder / split / f"class {number:05d}"
            names.mkdir(parents=True)
            os.link(pictures[number % len(pictures)], names / "0.png")
