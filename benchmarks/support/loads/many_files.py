"""A hundred thousand files in one folder."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support.loads.made_models import write_model, write_pictures
from benchmarks.support.loads.measured_run import LoadRow, answered, mb, run_lstn
from lstn.images import decode
from lstn.runtime.engines.opening import open_engine

FILES = 100_000
_PICTURES = 100
_LABELS = tuple("0123456789")


def many_files(folder: Path) -> Iterator[LoadRow]:
    """Answer the images of one folder, in each format, and check and measure a data set with such a class."""
    write_model(folder / "model.onnx", _LABELS)
    pictures = write_pictures(folder / "pictures", _PICTURES)
    images = folder / "images"
    _fill(images, pictures, FILES)
    wanted = _labels_of(folder / "model.onnx", pictures)
    for suffix in ("jsonl", "json"):
        rows = folder / f"rows.{suffix}"
        ended = run_lstn("infer", images, "--engine", "model.onnx", "--output", rows, cwd=folder)
        wrong = _wrong_rows(rows, wanted) if not ended.code else ""
        yield answered(f"`lstn infer FOLDER --output rows.{suffix}`", ended, _size(rows), wrong)
    ended = run_lstn("infer", images, "--engine", "model.onnx", "--ray", "local", "--out", "rows", cwd=folder)
    parts = sorted((folder / "rows").glob("part-*.jsonl"))
    wrong = _wrong_rows(parts, wanted) if not ended.code else ""
    yield answered("`lstn infer FOLDER --ray local`", ended, f"{len(parts)} parts", wrong)
    _fill(folder / "set" / "many", pictures, FILES)
    _fill(folder / "set" / "few", pictures, 100)
    yield answered("`lstn doctor --data folder:FOLDER`", run_lstn("doctor", "--data", "folder:set", cwd=folder))


def _fill(folder: Path, pictures: list[Path], count: int) -> None:
    """Link pictures under so many names: a name's number says which picture it is."""
    folder.mkdir(parents=True)
    for number in range(count):
        os.link(pictures[number % len(pictures)], folder / f"{number:06d}.png")


def _labels_of(model: Path, pictures: list[Path]) -> list[str]:
    with open_engine(model, spin=False) as engine:
        answers = [engine.infer(decode(path, engine.contract.image_hw)[None]).logits for path in pictures]
    return [_LABELS[int(logits[0].argmax())] for logits in answers]


def _wrong_rows(files: "Path | list[Path]", wanted: list[str]) -> str:
    rows = dict(row for file in ([files] if isinstance(files, Path) else files) for row in _rows_in(file))
    if len(rows) != FILES:
        return f"{len(rows)} images have a row"
    wrong = [name for name, label in rows.items() if label != wanted[int(name) % _PICTURES]]
    return f"{len(wrong)} labels are not the engine's, such as that of {wrong[0]}" if wrong else ""


def _rows_in(file: Path) -> Iterator[tuple[str, str]]:
    with file.open() as text:
        for row in json.load(text) if file.suffix == ".json" else map(json.loads, text):
            yield Path(row["path"]).stem, row["label"]


def _size(rows: Path) -> str:
    return mb(rows) if rows.exists() else ""
