"""Rows of `lstn infer` of a detector: as JSON, CSV and tables, and the pictures of them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lstn.contract import Contract, Loc, Task
from lstn.detection.drawn_objects import draw_objects
from lstn.detection.suppression import Detection, detections
from lstn.images import Pixels
from lstn.runtime.engines.prediction import Prediction
from lstn.runtime.inference.predict import predict
from lstn.runtime.inference.result_rows import ResultRow
from lstn.runtime.inference.row_text import Write, csv_objects, json_lines, json_rows, table_rows
from lstn.runtime.inference.warp_pictures import save_warp
from lstn.testing import FakeEngine

CONTRACT = Contract(Loc.GLANCE, "cnn", (16, 32), ("cat", "=dog"), warps=3, crop_hw=(8, 8), task=Task.DETECT)
LEFT_HALF = np.array([[0.5, 0, -0.5], [0, 1, 0]], np.float32)
MIDDLE = np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32)
FOUND = (Detection("=dog", 0.75, MIDDLE), Detection("cat", 0.5, LEFT_HALF))


def rows() -> list[ResultRow]:
    return [
        ResultRow(Path("a.png"), objects=FOUND),
        ResultRow(Path("b.png"), error="not an image"),
        ResultRow(Path("c.png"), objects=()),
    ]


def written(make: object) -> str:
    stream = io.StringIO()
    with make(stream) as write:  # type: ignore[operator]
        typed: Write = write
        typed(rows()[:1])
        typed(rows()[1:])
    return stream.getvalue()


@pytest.mark.parametrize("lines", [False, True])
def test_json_has_the_objects_of_each_image(lines: bool) -> None:
    text = written(json_lines if lines else json_rows)
    read = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    assert read == [
        {
            "path": "a.png",
            "objects": [
                {"label": "=dog", "score": 0.75, "box": [0.25, 0.25, 0.75, 0.75], "theta": MIDDLE.tolist()},
                {"label": "cat", "score": 0.5, "box": [0, 0, 0.5, 1], "theta": LEFT_HALF.tolist()},
            ],
        },
        {"path": "b.png", "error": "not an image"},
        {"path": "c.png", "objects": []},
    ]


def test_csv_has_a_line_for_each_object_and_for_images_without() -> None:
    read = list(csv.DictReader(io.StringIO(written(csv_objects))))
    assert [(row["path"], row["label"], row["score"], row["error"]) for row in read] == [
        ("a.png", "'=dog", "0.750000", ""),
        ("a.png", "cat", "0.500000", ""),
        ("b.png", "", "", "not an image"),
        ("c.png", "", "", ""),
    ]
    assert [read[1][side] for side in ("left", "top", "right", "bottom")] == ["0.0000", "0.0000", "0.5000", "1.0000"]


def test_a_table_shows_objects_below_each_other() -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    with table_rows(console, labels=CONTRACT.labels, paths=["a.png", "b.png", "c.png"]) as write:
        write(rows())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[:2] for line in lines] == [
        ["a.png", "=dog"],
        ["cat", "50.0"],
        ["b.png", "not"],
        ["c.png", "no"],
    ]
    assert lines[0].rstrip().endswith("x 25% to 75%, y 25% to 75%")


def answer(pixels: Pixels) -> Prediction:
    """Each image's first pixel says how sure a cat is; the second region shows nothing, the third is no number in 9."""
    count = len(pixels)
    logits = np.zeros((count, 3, 3), np.float32)
    logits[:, 0, 0] = pixels[:, 0, 0, 0]
    logits[:, 1, 2] = 20
    logits[pixels[:, 0, 0, 0] == 9, 2, 0] = np.nan
    return Prediction(logits, np.tile(np.stack([MIDDLE, LEFT_HALF, MIDDLE]), (count, 1, 1, 1)))


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = []
    for number, value in enumerate((3, 9, 1)):
        pixels = np.full((16, 32, 3), value, np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    (tmp_path / "3.png").write_bytes(b"junk")
    return [*paths, tmp_path / "3.png"]


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize(("top", "least"), [(None, 0.3), (1, 0.01), (None, 0.0)])
def test_rows_are_the_detections_of_the_engines_answer(
    images: list[Path], batch: int, top: int | None, least: float
) -> None:
    engine = FakeEngine(CONTRACT, answer)
    found = [row for rows in predict(engine, images, batch=batch, top=top, least=least, workers=2) for row in rows]
    assert [row.path for row in found] == images
    assert found[1].error == "the model's answer is not a number"
    assert "image" in found[3].error
    assert found[1].objects is found[3].objects is None
    for index, value in ((0, 3), (2, 1)):
        raw = answer(np.full((1, 16, 32, 3), value, np.uint8))
        assert raw.theta is not None
        wanted = detections(raw.logits[0], raw.theta[0], CONTRACT.labels, least=least, most=top or 100)
        given = found[index].objects
        assert given is not None
        assert [(each.label, each.score, each.theta.tolist()) for each in given] == [
            (each.label, each.score, each.theta.tolist()) for each in wanted
        ]


def test_pictures_show_objects_and_their_top_edge(tmp_path: Path) -> None:
    pixels = np.full((16, 32, 3), 128, np.uint8)
    picture = np.asarray(draw_objects(pixels, FOUND[:1], CONTRACT.labels, side=320)).astype(int)
    assert picture.shape == (160, 320, 3)
    orange, blue = (np.abs(picture - colour).sum(2) < 60 for colour in ([255, 149, 0], [0, 194, 255]))
    ys, xs = np.nonzero(orange)
    assert (abs(ys - 40) <= 4).all()
    assert xs.min() >= 70 and xs.max() <= 250  # noqa: PT018 - one edge
    assert blue[110:125, 75:85].any()
    save_warp(ResultRow(Path("x/y.png"), pixels=pixels, objects=FOUND), tmp_path, CONTRACT, number=7)
    assert [path.name for path in tmp_path.iterdir()] == ["000007-y.png"]


def test_a_class_that_the_font_lacks_is_shown_by_its_number() -> None:
    pixels = np.full((64, 64, 3), 128, np.uint8)
    named = draw_objects(pixels, [Detection("猫", 0.5, MIDDLE)], ("dog", "猫"))
    numbered = draw_objects(pixels, [Detection("class 1", 0.5, MIDDLE)], ("dog", "class 1"))
    assert named.tobytes() == numbered.tobytes()
