"""Which images `lstn evaluate` tests: a seed, a record of the training, or the folder's own divisions decide."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from evaluated_folder import IMAGES, LABELS
from tiny import SIDE, MakeTiny, Tiny

from lstn.data.dataset import Split, open_data
from lstn.formats.training_record import TRAINING_KEY, Training
from lstn.images import decode


def test_an_engine_needs_to_be_told_its_images(tiny: Tiny, run_lstn: RunLstn) -> None:
    ran = run_lstn("evaluate", tiny.path)
    assert ran.code == 2
    assert "add --data" in ran.err


def test_an_engine_needs_to_be_told_a_seed_that_decides_what_is_tested(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    """Which it doesn't know: by another than the run's, it would be tested on what it was trained on."""
    kept = tmp_path / "kept.json"
    given = ("evaluate", tiny.path, "--data", f"folder:{folder / 'train'}", "--json", kept, "--split", "test")
    ran = run_lstn(*given)
    assert (ran.code, ran.out) == (2, "")
    line, hint = ran.err.splitlines()[-2:]
    assert line.endswith("is split by a seed, and this file doesn't say which one its model was trained with")
    assert "add --seed N" in hint
    assert not kept.exists()
    assert run_lstn(*given, "--seed", 1).code == 0
    split = open_data(f"folder:{folder / 'train'}", image_hw=(SIDE, SIDE), seed=1).test
    assert json.loads(kept.read_text())["top1"] == top1_by_hand(tiny, split)


def test_an_engine_that_says_what_it_was_trained_on_is_not_tested_on_it(
    make_tiny: MakeTiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    photos = folder / "train"
    own = open_data(f"folder:{photos}", image_hw=(SIDE, SIDE), seed=5)
    record = Training(f"folder:{photos}", 5, 1, 0.5, images=own.train.fingerprint)
    tiny = make_tiny(edit=lambda model: model.metadata_props.add(key=TRAINING_KEY, value=record.to_json()))
    (tmp_path / "elsewhere").mkdir()
    moved = photos.rename(tmp_path / "elsewhere" / "moved")
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{moved}", "--json", kept)
    assert ran.code == 0
    assert f"4 images are tested, the test images of folder:{moved}" in ran.err
    found = json.loads(kept.read_text())
    assert (found["split"], found["images"]) == ("test", 4)
    assert found["top1"] == top1_by_hand(tiny, open_data(f"folder:{moved}", image_hw=(SIDE, SIDE), seed=5).test)
    ran = run_lstn("evaluate", tiny.path)
    assert (ran.code, f"{photos}: no such folder" in ran.err) == (2, True)
    moved.rename(photos)
    assert run_lstn("evaluate", tiny.path, "--json", kept).code == 0
    assert json.loads(kept.read_text()) == found | {"data": f"folder:{photos}"}


def top1_by_hand(tiny: Tiny, split: Split) -> float:
    pixels, labels = zip(*(split[index] for index in range(len(split))), strict=True)
    return float(np.mean(tiny.logits(np.stack(pixels)).argmax(1) == np.array(labels)))


@pytest.mark.parametrize("gone", [(), ("ant",), ("bee", "dog")])
def test_new_images_are_tested_all_and_need_not_be_of_every_class(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn, gone: tuple[str, ...]
) -> None:
    for label in gone:
        shutil.rmtree(folder / "train" / label)
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder / 'train'}", "--json", kept)
    assert ran.code == 0
    count = IMAGES // 4 * (4 - len(gone))
    assert f"{count} images are tested, all of " in ran.err
    assert f"{4 - len(gone)} classes; {count} images; the smallest class, " in ran.err
    found = json.loads(kept.read_text())
    assert (found["images"], found["split"]) == (count, "all")
    pixels, labels = [], []
    for index, label in enumerate(LABELS):  # numbered as the model's, whichever are there
        for path in sorted((folder / "train" / label).glob("*")):
            pixels.append(decode(path, (SIDE, SIDE)))
            labels.append(index)
    assert found["top1"] == np.mean(tiny.logits(np.stack(pixels)).argmax(1) == np.array(labels))
    assert [row["images"] for row in found["classes"]] == [0 if name in gone else IMAGES // 4 for name in LABELS]


@pytest.mark.parametrize(
    ("split", "count"), [("train", IMAGES), ("val", IMAGES // 2), ("test", IMAGES), ("all", 5 * IMAGES // 2)]
)
def test_any_split_of_a_divided_folder_is_tested(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn, split: str, count: int
) -> None:
    for label in LABELS[:2]:
        shutil.rmtree(folder / "val" / label)
    kept = tmp_path / "kept.json"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept, "--split", split)
    assert ran.code == 0
    found = json.loads(kept.read_text())
    assert (found["images"], found["split"]) == (count, split)


def test_a_folder_with_test_images_alone_is_tested(tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    for name in ("train", "val"):
        shutil.rmtree(folder / name)
    kept = tmp_path / "kept.json"
    assert run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept).code == 0
    assert json.loads(kept.read_text())["top1"] == top1_by_hand(
        tiny, open_data(f"folder:{folder}", image_hw=(SIDE, SIDE), labels=LABELS).test
    )
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--split", "val")
    assert (ran.code, ran.out) == (1, "")
    assert f"{folder}: no val images" in ran.err


def test_a_class_that_the_model_does_not_have_is_refused(tiny: Tiny, folder: Path, run_lstn: RunLstn) -> None:
    (folder / "train" / "ant").rename(folder / "train" / "wasp")
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder / 'train'}")
    assert (ran.code, ran.out) == (1, "")
    assert "class 'wasp' is not one of the model's 4 classes" in ran.err


def test_validation_images_do_not_pass_for_test_images(
    tiny: Tiny, folder: Path, tmp_path: Path, run_lstn: RunLstn
) -> None:
    (folder / "test").rename(tmp_path / "elsewhere")
    kept, html = tmp_path / "kept.json", tmp_path / "page.html"
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept, "--html", html)
    assert ran.code == 0
    assert f"warning: no {folder / 'test'}" in ran.err
    assert json.loads(kept.read_text())["split"] == "val"
    for text in (ran.out, html.read_text()):
        assert "24 validation images" in text
        assert "test images" not in text
    (tmp_path / "elsewhere").rename(folder / "test")
    ran = run_lstn("evaluate", tiny.path, "--data", f"folder:{folder}", "--json", kept)
    assert json.loads(kept.read_text())["split"] == "test"
    assert "24 test images" in ran.out
