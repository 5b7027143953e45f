"""A model that tags from its run to its answers, by commands; and what is refused by one line."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from deployed_run import check_as_pytorch, check_refused, deploy, pixels_of
from short_runs import options
from tagged_blocks import COLOURS, SIDE, tagged_blocks
from tiny_fixtures import run_lstn

import lstn
from lstn.contract import Loc, Task
from lstn.data.objects import objects_of
from lstn.data.tags.tag_sets import open_tags
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.runtime.engines.opening import open_engine
from lstn.tagging.tags import sigmoid

__all__ = ["run_lstn"]

HW = (SIDE, SIDE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set, a run of a few epochs, and its ONNX and OpenVINO files."""
    folder = tmp_path_factory.mktemp("tagger")
    data = f"folder:{tagged_blocks(folder / 'set')}"
    chosen = options(data, task=Task.TAG, loc=Loc.GLANCE, image_size=HW, batch_size=16, epochs=6, lr=0.004, cosine=True)
    deploy(folder, chosen, open_tags(data, image_hw=HW).val)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_engines_answer_what_pytorch_does(made: Path, name: str) -> None:
    """Thresholds were fitted, and the labels of an image are those at or above them."""
    split = open_tags(f"folder:{made / 'set'}", image_hw=HW).test
    pixels, checkpoint = pixels_of(split), load_checkpoint(made / "run" / CHECKPOINT)
    logits, _ = check_as_pytorch(made / name, checkpoint, pixels)
    thresholds = checkpoint.contract.thresholds
    assert len(thresholds) == len(COLOURS)
    assert set(thresholds) != {0.5}
    with open_engine(made / name) as engine:
        assert engine.contract == checkpoint.contract
        found = engine.tag(list(pixels))
        assert engine.tag(pixels[0]) == found[0]
        every = engine.tag(pixels[0], least=0)
    labels = checkpoint.contract.labels
    for answer, tags in zip(sigmoid(logits), found, strict=True):
        wanted = {label for label, sure, least in zip(labels, answer, thresholds, strict=True) if sure >= least}
        assert {tag.label for tag in tags} == wanted
        assert [tag.probability for tag in tags] == sorted((tag.probability for tag in tags), reverse=True)
    assert {tag.label for tag in every} == set(labels)


def test_it_learned(made: Path) -> None:
    *epochs, last = [json.loads(line) for line in (made / "run/metrics.jsonl").read_text().splitlines()]
    assert last["test_map"] > 0.85
    assert epochs[last["best_epoch"] - 1]["val_map"] == max(each["val_map"] for each in epochs)


def test_infer_writes_all_labels_in_every_format(made: Path, run_lstn: RunLstn) -> None:
    photos = sorted((made / "set/test").glob("*.png"))
    with open_engine(made / "model.onnx") as engine:
        found = engine.tag(photos)
    assert {len(each) for each in found} >= {0, 1, 2}
    ran = {
        kind: run_lstn("infer", *photos, "--engine", made / "model.onnx", "--format", kind)
        for kind in ("json", "csv", "table")
    }
    assert [each.code for each in ran.values()] == [0, 0, 0]
    rows = json.loads(ran["json"].out)
    assert [row["path"] for row in rows] == [str(photo) for photo in photos]
    for row, tags in zip(rows, found, strict=True):
        assert list(row) == ["path", "labels", "theta"]
        assert [each["label"] for each in row["labels"]] == [tag.label for tag in tags]
        assert [each["probability"] for each in row["labels"]] == pytest.approx(
            [tag.probability for tag in tags], abs=1e-5
        )
    lines = list(csv.DictReader(io.StringIO(ran["csv"].out)))
    assert list(lines[0]) == ["path", "label", "probability", "error"]
    wanted = [
        (str(photo), label)
        for photo, tags in zip(photos, found, strict=True)
        for label in [tag.label for tag in tags] or [""]
    ]
    assert [(line["path"], line["label"]) for line in lines] == wanted
    table = ran["table"].out
    assert table.count("no labels") == sum(not tags for tags in found)
    assert table.count("%") == sum(map(len, found))


def test_top_limits_the_labels_of_an_image(made: Path, run_lstn: RunLstn) -> None:
    ran = run_lstn("infer", made / "set/test", "--engine", made / "model.onnx", "--format", "json", "--top", 1)
    assert {len(row["labels"]) for row in json.loads(ran.out)} == {0, 1}


def test_a_score_is_one_threshold_for_all_labels(made: Path, run_lstn: RunLstn) -> None:
    words = ("infer", made / "set/test", "--engine", made / "model.onnx", "--format", "json", "--score")
    every, few = (json.loads(run_lstn(*words, score).out) for score in (0, 0.9))
    assert {len(row["labels"]) for row in every} == {len(COLOURS)}
    for row, other in zip(every, few, strict=True):
        assert other["labels"] == [each for each in row["labels"] if each["probability"] >= 0.9]


@pytest.mark.parametrize("name", ["run", "model.onnx", "model.xml"])
def test_evaluate_says_average_precision_and_f1(made: Path, name: str, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn("evaluate", made / name, "--json", tmp_path / "e.json", "--html", tmp_path / "e.html")
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "e.json").read_text())
    split = open_tags(f"folder:{made / 'set'}", image_hw=HW).test
    truth = [set(objects_of(split, index).labels.tolist()) for index in range(len(split))]
    with open_engine(made / "model.onnx") as engine:
        found = [
            {engine.contract.labels.index(tag.label) for tag in tags} for tags in engine.tag(list(pixels_of(split)))
        ]
    both = sum(len(one & other) for one, other in zip(truth, found, strict=True))
    f1 = 2 * both / sum(len(one) + len(other) for one, other in zip(truth, found, strict=True))
    assert told["micro_f1"]["value"] == pytest.approx(100 * f1, abs=1e-6)
    assert told["exact"] == sum(one == other for one, other in zip(truth, found, strict=True))
    assert [each["images"] for each in told["labels"]] == [sum(number in each for each in truth) for number in range(3)]
    assert f"{100 * told['mean_average_precision']:.1f} %" in ran.out
    assert "mean average precision" in (tmp_path / "e.html").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "model.onnx", "set/test/0.png"),
        ("attack", "run"),
        ("compare", "model.onnx", "model.xml"),
        ("export", "run", "--triton", "models", "--engine", "onnx"),
        ("evaluate", "model.onnx", "--rotate", "30"),
        ("evaluate", "model.onnx", "--worst", "rotate 30"),
        ("doctor", "run", "--data", "folder:set"),
        ("tune", "model.onnx"),
        ("infer", "set/test/0.png", "--engine", "model.onnx", "--reject-below", "0.5"),
        ("train", "--task", "tag", "--data", "folder:set", "--balance", "weights"),
        ("train", "--task", "tag", "--data", "folder:set", "--label-smoothing", "0.1"),
        ("train", "--task", "tag", "--data", "folder:set", "--supervise", "1"),
    ],
)
def test_what_is_not_for_models_that_tag_is_one_line(
    made: Path, words: tuple[str, ...], run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    check_refused(run_lstn, words, "and this one tags\n")


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_have_no_labels_here(
    made: Path, kind: str, run_lstn: RunLstn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    words = ("train", "--task", "tag", "--data", "folder:set", "--augment", kind)
    check_refused(run_lstn, words, f"--augment {kind} is for images with one label")


def test_other_methods_of_an_engine_name_the_right_one(made: Path) -> None:
    with open_engine(made / "model.onnx") as engine:
        with pytest.raises(lstn.UsageError, match="classify is for models that classify, and this one tags") as raised:
            engine.classify(np.zeros((*HW, 3), np.uint8))
        assert raised.value.hint == "call tag"
        with pytest.raises(lstn.UsageError, match="expected a number from 0 to 1"):
            engine.tag(np.zeros((*HW, 3), np.uint8), least=1.5)


def test_inspect_bench_and_doctor_take_it(made: Path, run_lstn: RunLstn) -> None:
    said = run_lstn("inspect", made / "model.onnx").out
    thresholds = load_checkpoint(made / "run" / CHECKPOINT).contract.thresholds
    assert ", ".join(f"{each:.2f}" for each in thresholds) in said
    ran = run_lstn("bench", made / "model.onnx", "--batch", 2, "--seconds", 0.2, "--json", made / "bench.json")
    assert ran.code == 0, ran.err
    ran = run_lstn("doctor", made / "run")
    assert "6 epochs, best validation mean average precision" in ran.out
    assert "labels right on" in ran.out


def test_train_says_its_figures(made: Path, run_lstn: RunLstn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--task", "tag", "--loc", "none", "--model", "cnn", "--data", f"folder:{made / 'set'}")
    ran = run_lstn("train", *words, "--image-size", SIDE, "--epochs", 1, "--name", "a", "--augment", "randaugment")
    assert ran.code == 0, ran.err
    assert "test mean average precision" in ran.out
    assert "the mean over labels" in ran.err
    told = json.loads((tmp_path / "runs/a/test.json").read_text())
    assert told["images"] == 64


def test_calibrate_measures_labels(made: Path, run_lstn: RunLstn, tmp_path: Path) -> None:
    ran = run_lstn(
        "calibrate", made / "model.onnx", "--precision", "int8", "--out", tmp_path, "--images", 64, "--force"
    )
    assert ran.code == 0, ran.err
    told = json.loads((tmp_path / "model.int8.cost.json").read_text())["precisions"]["int8"]
    assert told["mean_average_precision"]["reference"] > 0.85
    assert "same labels as fp32" in ran.out
    with open_engine(tmp_path / "model.int8.onnx") as engine:
        assert engine.contract == load_checkpoint(made / "run" / CHECKPOINT).contract


def test_fit_trains_a_model_of_a_program(made: Path, tmp_path: Path) -> None:
    kept = load_checkpoint(made / "run" / CHECKPOINT)
    model = kept.classifier_for("tests") if kept.contract.task is Task.CLASSIFY else kept.model
    result = lstn.fit(model, made / "set", tmp_path / "more", epochs=1)
    assert len(result.contract.thresholds) == len(COLOURS)
    assert replace(result.contract, thresholds=()) == replace(kept.contract, thresholds=())
