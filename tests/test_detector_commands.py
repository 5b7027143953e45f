"""A detector from its run to its answers, by commands; and what only classifiers can do yet."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from coloured_squares import coloured_squares
from command import RunLstn
from deployed_run import check_refused, deploy
from short_runs import options
from tiny_fixtures import run_lstn

from lstn.contract import Loc, Task, ThetaForm
from lstn.data.object_sets import open_objects
from lstn.detection.detecting import detect_all, score_detections
from lstn.detection.suppression import SHOWN_SCORE, detections
from lstn.runtime.engines.engine_answers import answering
from lstn.runtime.engines.opening import open_engine

__all__ = ["run_lstn"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set, a run of a few epochs, and its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp("detector")
    data = f"folder:{coloured_squares(folder / 'set', train=64, test=16)}"
    small = {"task": Task.DETECT, "loc": Loc.GLANCE, "image_size": 64, "crop": 16, "warps": 5, "theta": ThetaForm.CROP}
    chosen = options(data, **small, epochs=6, lr=0.003, loc_lr_scale=1.0, cosine=True)
    deploy(folder, chosen, open_objects(data, image_hw=(64, 64)).val)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_infer_answers_what_the_engine_and_suppression_say(made: Path, name: str, run_lstn: RunLstn) -> None:
    photos = sorted((made / "set/test").glob("*.png"))
    ran = run_lstn("infer", *photos, "--engine", made / name, "--format", "json", "--score", "0.2")
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)
    assert [row["path"] for row in rows] == [str(photo) for photo in photos]
    assert any(row["objects"] for row in rows)
    split = open_objects(f"folder:{made / 'set'}", image_hw=(64, 64)).test
    by_name = {path.name: split[index][0] for index, (path, _) in enumerate(split.files)}  # type: ignore[attr-defined]
    with open_engine(made / name) as engine:
        for photo, row in zip(photos, rows, strict=True):
            answer = engine.infer(by_name[photo.name][None])
            assert answer.theta is not None
            wanted = detections(answer.logits[0], answer.theta[0], engine.contract.labels, least=0.2)
            assert [(each["label"], each["score"]) for each in row["objects"]] == [
                (each.label, pytest.approx(each.score, abs=1e-4)) for each in wanted
            ]
            for found, each in zip(row["objects"], wanted, strict=True):
                np.testing.assert_allclose(found["theta"], each.theta, atol=1e-4)


def test_pictures_and_csv(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    photos = made / "set/test"
    ran = run_lstn("infer", photos, "--engine", made / "model.onnx", "--warps", tmp_path / "p", "--score", "0.2")
    assert ran.code == 0
    assert "not read" not in ran.err  # the annotations among the images
    assert len(list((tmp_path / "p").iterdir())) == 16
    assert {row["label"] for row in csv.DictReader(io.StringIO(ran.out))} <= {"red", "blue", ""}
    best = run_lstn("infer", photos, "--engine", made / "model.onnx", "--top", 1, "--score", "0.2")
    assert len(best.out.splitlines()) == 17


@pytest.mark.parametrize("name", ["run", "model.onnx", "model.xml"])
def test_evaluate_says_the_average_precision(made: Path, name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("evaluate", made / name, "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "e.json").read_text())
    split = open_objects(f"folder:{made / 'set'}", image_hw=(64, 64)).test
    with open_engine(made / "model.onnx") as engine:
        labels = engine.contract.labels
        found = detect_all(answering(engine).both, split, labels, batch=4, advance=lambda count: None)
    wanted = score_detections(found, labels, (64, 64))
    assert told["upright"]["ap50"] == pytest.approx(wanted.upright.ap50, abs=0.005)
    assert told["images"] == 16
    assert f"{100 * told['upright']['ap50']:.1f}" in ran.out
    assert "average precision" in (tmp_path / "e.html").read_text()


@pytest.mark.parametrize("option", [("--rotate", "30"), ("--worst", "rotate 30"), ("--top-losses", "3")])
def test_what_of_evaluate_is_for_classifiers_says_so(made: Path, option: tuple[str, str], run_lstn: RunLstn) -> None:
    ran = run_lstn("evaluate", made / "model.onnx", *option)
    assert ran.code == 2
    assert f"{option[0]} is for models that classify" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "model.onnx", "set/test/0.png"),
        ("explain", "run", "set/test/0.png"),
        ("explain", "run", "set/test/0.png", "--features", "features.0"),
        ("attack", "run"),
        ("compare", "model.onnx", "model.xml"),
        ("attack", "model.onnx"),
        ("export", "run", "--triton", "models", "--engine", "onnx"),
    ],
)
def test_what_only_classifiers_can_is_one_line(
    made: Path, words: tuple[str, ...], run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    instead = "lstn infer, evaluate, export, serve and bench take models that look at images"
    check_refused(run_lstn, words, "is for models that classify, and this one detects\n", instead)


def test_objects_are_left_out_by_score_and_labels_by_probability(made: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("infer", made / "set/test/0.png", "--engine", made / "model.onnx", "--reject-below", "0.5")
    assert ran.code == 2
    assert "--reject-below is for models that classify" in ran.err


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp8"])
def test_calibrate_writes_every_precision_with_its_cost(
    made: Path, precision: str, run_lstn: RunLstn, tmp_path: Path
) -> None:
    words = ("calibrate", made / "model.onnx", "--precision", precision, "--out", tmp_path, "--force")
    images = ("--images", 32) if precision in ("int8", "fp8") else ()
    ran = run_lstn(*words, *images)
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / f"model.{precision}.cost.json").read_text())["precisions"][precision]
    assert "same objects as fp32" in ran.out
    assert told["turned"] is None  # boxes of this model are upright
    assert told["images"] == 16
    if precision in ("fp16", "int8"):
        before, after = (
            precision_of(file, made) for file in (made / "model.onnx", tmp_path / f"model.{precision}.onnx")
        )
        assert (told["upright"]["ap"]["reference"], told["upright"]["ap"]["lowered"]) == (
            pytest.approx(before, abs=1e-3),
            pytest.approx(after, abs=1e-3),
        )
        again = run_lstn(*words, *images)  # its ranges are read from where they were kept
        assert again.code == 0, again.err


def precision_of(file: Path, made: Path) -> float:
    """Average precision on the validation images."""
    split = open_objects(f"folder:{made / 'set'}", image_hw=(64, 64)).val
    with open_engine(file) as engine:
        labels = engine.contract.labels
        found = detect_all(answering(engine).both, split, labels, batch=4, advance=lambda count: None)
    return score_detections(found, labels, (64, 64)).upright.ap or 0.0


def test_an_int8_detector_runs_in_both_engines(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("export", made / "run", "--precision", "int8", "--engine", "openvino", "--out", tmp_path, "--force")
    assert ran.code == 0, ran.err
    float32 = precision_of(made / "model.onnx", made)
    for name in ("model.int8.onnx", "model.int8.xml"):
        assert precision_of(tmp_path / name, made) == pytest.approx(float32, abs=0.1)  # of a model of a few seconds
    graph = onnx.load(tmp_path / "model.int8.onnx").graph
    assert [node.op_type for node in graph.node].count("QuantizeLinear") >= 2


def test_a_search_keeps_layers_until_precision_is_within_its_points(
    made: Path, run_lstn: RunLstn, tmp_path: Path
) -> None:
    words = ("calibrate", made / "model.onnx", "--images", 32, "--out", tmp_path, "--force")
    ran = run_lstn(*words, "--auto", 100)
    assert ran.code == 0, ran.err
    assert "keeping nothing more:" in ran.out
    assert "points of AP, upright boxes" in ran.out


def test_calibrate_needs_objects_and_the_library_before_the_work(
    made: Path, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = coloured_squares(tmp_path / "set", train=4, test=2)
    table = root / "val/_annotations.coco.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | {"annotations": []}))
    words = ("calibrate", made / "model.onnx", "--precision", "fp16", "--out", tmp_path / "out")
    ran = run_lstn(*words, "--data", f"folder:{root}")
    assert ran.code == 1
    assert "no validation image shows an object" in ran.err
    for name in ("pycocotools", "pycocotools.coco"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = run_lstn(*words)
    assert ran.code == 1
    assert "pycocotools is not installed" in ran.err
    assert not (tmp_path / "out").exists()


def test_infer_and_pictures_leave_out_the_same_objects(run_lstn: RunLstn) -> None:
    """The command's help may not import what the constant's module needs."""
    assert f"default: ({SHOWN_SCORE:g}; to tag," in " ".join(run_lstn("infer", "--help").out.split())


def test_inspect_and_bench_take_detectors(made: Path, run_lstn: RunLstn) -> None:
    said = run_lstn("inspect", made / "model.onnx").out
    assert "detect" in said
    assert "glance, theta crop, 5 regions" in said
    ran = run_lstn("bench", made / "model.onnx", "--batch", 1, "--seconds", 1)
    assert ran.code == 0, ran.err
    assert "images/s" in ran.out


def test_doctor_reads_its_run(made: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("doctor", made / "run")
    assert ran.code == 0
    *epochs, last = [json.loads(line) for line in (made / "run/metrics.jsonl").read_text().splitlines()]
    best = max(epoch["val_ap50"] for epoch in epochs)
    assert f"6 epochs, best validation AP50 {best:.1%}" in ran.out
    assert f"test {last['test_ap50']:.1%}" in ran.out
    assert not [name for row in (*epochs, last) for name in row if "accuracy" in name]
    assert all(0 <= epoch["train_regions_right"] <= 1 for epoch in epochs)
    older = made / "older"
    older.mkdir()
    names = {"val_ap50": "val_accuracy", "test_ap50": "test_accuracy", "train_regions_right": "train_accuracy"}
    rows = [{names.get(name, name): value for name, value in row.items()} for row in (*epochs, last)]
    (older / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert f"6 epochs, best validation {best:.1%}" in run_lstn("doctor", older).out
    shutil.rmtree(older)


def test_a_score_is_for_detectors(run_lstn: RunLstn, made: Path) -> None:
    ran = run_lstn("infer", made / "set/test/0.png", "--engine", "zoo:digits", "--score", "0.5")
    assert ran.code == 2
    assert "--score is for models that detect" in ran.err


def test_a_set_whose_validation_images_show_nothing_is_refused(
    made: Path, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = coloured_squares(tmp_path / "set", train=4, test=2)
    table = root / "val/_annotations.coco.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | {"annotations": []}))
    ran = run_lstn("train", "--task", "detect", "--model", "cnn", "--data", "folder:set", "--image-size", "64")
    assert ran.code == 1
    assert "no validation image shows an object" in ran.err
    assert not (tmp_path / "runs").exists()


def test_a_missing_library_is_told_before_the_work(
    made: Path, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pycocotools", "pycocotools.coco"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = run_lstn("evaluate", made / "model.onnx")
    assert ran.code == 1
    assert "pycocotools is not installed" in ran.err
    assert "looking for objects" not in ran.err
