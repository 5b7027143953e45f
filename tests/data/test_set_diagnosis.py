"""Diagnosis of a folder: against files that were copied, saved again, mislabelled and miscounted on purpose."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_detector import tiny_detector
from tiny_fixtures import MakeTiny, make_tiny, run_lstn

from lstn.data.dataset import open_data
from lstn.data.folders.set_diagnosis import SIDE, diagnose_set, nearly_equal
from lstn.errors import UsageError

__all__ = ["make_tiny", "run_lstn"]


def photo(seed: int, size: tuple[int, int] = (80, 60)) -> Image.Image:
    """Smooth, as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with 20 training, 5 validation and 5 test images each, all different."""
    seed = 0
    for split, count in (("train", 20), ("val", 5), ("test", 5)):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                seed += 1
                photo(seed).save(folder / f"{number}.png")
    return tmp_path / "photos"


def names(photos: Path, found: object) -> list[set[str]]:
    return [{str(image.path.relative_to(photos)) for image in each.images} for each in found.copies]  # type: ignore[attr-defined]


def diagnosed(photos: Path) -> object:
    return diagnose_set(open_data(f"folder:{photos}", image_hw=(SIDE, SIDE), tolerant=True))


def test_pictures_that_differ_are_no_copies(photos: Path) -> None:
    found = diagnosed(photos)
    assert found.copies == ()  # type: ignore[attr-defined]
    assert found.images == {"train": 40, "val": 10, "test": 10}  # type: ignore[attr-defined]
    assert dict(found.classes) == {"cat": 20, "dog": 20}  # type: ignore[attr-defined]
    assert (found.shortest, found.longest) == (60, 80)  # type: ignore[attr-defined]
    assert (found.small, found.long, found.unequal) == (0, 0, False)  # type: ignore[attr-defined]


def test_copies_are_found_by_contents_and_by_pixels(photos: Path) -> None:
    shutil.copy(photos / "train/cat/0.png", photos / "train/cat/again.png")
    shutil.copy(photos / "train/cat/1.png", photos / "test/dog/same.png")
    Image.open(photos / "train/dog/2.png").save(photos / "val/dog/worse.jpg", quality=60)
    Image.open(photos / "train/dog/3.png").resize((400, 300), Image.Resampling.BICUBIC).save(
        photos / "train/dog/large.png"
    )
    found = diagnosed(photos)
    assert sorted(map(sorted, names(photos, found))) == [
        ["test/dog/same.png", "train/cat/1.png"],
        ["train/cat/0.png", "train/cat/again.png"],
        ["train/dog/2.png", "val/dog/worse.jpg"],
        ["train/dog/3.png", "train/dog/large.png"],
    ]
    first = found.copies[0]  # type: ignore[attr-defined]
    assert (first.exact, first.across_splits, first.across_labels) == (True, True, True)
    assert [each.exact for each in found.copies].count(True) == 2  # type: ignore[attr-defined]


def test_pictures_that_show_nothing_are_not_taken_for_one(photos: Path) -> None:
    for number in range(6):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(photos / "train/cat" / f"black{number}.png")
    assert diagnosed(photos).copies == ()  # type: ignore[attr-defined]


def test_sizes_and_small_classes_are_told(photos: Path) -> None:
    for path in sorted((photos / "train/dog").iterdir())[1:]:
        path.unlink()
    photo(500, (20, 30)).save(photos / "train/cat/tiny.png")
    photo(501, (500, 100)).save(photos / "train/cat/long.png")
    found = diagnosed(photos)
    assert found.classes == (("cat", 22), ("dog", 1))  # type: ignore[attr-defined]
    assert found.unequal  # type: ignore[attr-defined]
    assert (found.shortest, found.longest, found.small, found.long) == (20, 500, 1, 1)  # type: ignore[attr-defined]


@given(st.integers(0, 2**32), st.integers(2, 40), st.floats(0, 12))
def test_near_pairs_are_those_of_a_loop(seed: int, count: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    first = random.uniform(0, 255, (count, 256)).astype(np.float32)
    some = random.integers(0, count, count)
    blocks = np.concatenate([first, first[some] + random.normal(0, noise, first.shape).astype(np.float32)])
    found = set(nearly_equal(blocks))
    for one in range(len(blocks)):
        for other in range(one + 1, len(blocks)):
            apart = float(np.sqrt(np.mean((blocks[one].astype(float) - blocks[other]) ** 2)))
            if abs(apart - 3) > 0.1:  # nearer to the bound float32 decides
                assert ((one, other) in found) == (apart < 3)


def test_blocks_of_rows_meet_each_other() -> None:
    """More images than are compared at once."""
    blocks = np.random.default_rng(0).uniform(0, 255, (2100, 256)).astype(np.float32)
    blocks[2050], blocks[1500] = blocks[3], blocks[1100]
    assert set(nearly_equal(blocks)) == {(3, 2050), (1100, 1500)}


def test_a_model_names_the_labels_that_were_changed(tmp_path: Path, run_lstn: RunLstn) -> None:
    split = open_data("digits", image_hw=(44, 44), seed=0).train
    for number in range(210):
        pixels, label = split[number]
        labelled = (label + 1) % 10 if number < 5 else label
        folder = tmp_path / ("val" if number >= 200 else "train") / str(labelled)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    ran = run_lstn("doctor", "zoo:digits", "--data", f"folder:{tmp_path}", "--format", "json")
    assert ran.code == 0, ran.err
    doubted = json.loads(ran.out)["doubted"]
    assert {Path(each["path"]).name for each in doubted[:3]} <= {f"{number}.png" for number in range(5)}
    for each in doubted[:3]:
        assert int(each["label"]) == (int(each["answer"]) + 1) % 10
        assert each["probability"] > each["of_label"]


def test_of_many_copies_one_of_each_split_and_label_is_shown(photos: Path, run_lstn: RunLstn) -> None:
    for number in range(12):
        shutil.copy(photos / "train/cat/0.png", photos / f"train/cat/copy{number}.png")
    shutil.copy(photos / "train/cat/0.png", photos / "test/dog/copy.png")
    ran = run_lstn("doctor", "--data", f"folder:{photos}")
    (line, _) = (line for line in ran.err.splitlines() if "copy" in line)
    assert "(train, cat) = " in line
    assert f"{photos}/test/dog/copy.png (test, dog)" in line
    assert line.endswith(" = 12 more")


def test_a_model_that_doubts_most_labels_is_no_judge(photos: Path, tmp_path: Path, run_lstn: RunLstn) -> None:
    digits = tmp_path / "digits"
    split = open_data("digits", image_hw=(44, 44), seed=0).train
    for number in range(60):
        pixels, label = split[number]
        folder = digits / ("val" if number >= 50 else "train") / str((label + 1) % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    ran = run_lstn("doctor", "zoo:digits", "--data", f"folder:{digits}")
    assert ran.code == 0, ran.err
    assert "it knows these images too little to judge them" in ran.err
    assert "may be mislabelled" not in ran.err


def test_sets_that_are_no_folders_are_refused() -> None:
    with pytest.raises(UsageError, match="only folders of images"):
        diagnose_set(open_data("digits", image_hw=(SIDE, SIDE)))


def broken(photos: Path, split: str, label: str, count: int) -> None:
    for path in sorted((photos / split / label).iterdir())[:count]:
        path.write_bytes(path.read_bytes()[:60])


def test_a_folder_with_many_broken_images_is_reported_and_not_refused(photos: Path, run_lstn: RunLstn) -> None:
    broken(photos, "train", "cat", 12)
    broken(photos, "val", "dog", 1)
    ran = run_lstn("doctor", "--data", f"folder:{photos}")
    assert ran.code == 0, ran.err
    assert "13 of 60 images are broken" in ran.err
    assert "more than 5% of train and val are broken" in ran.err
    assert "and 3 more" in ran.err
    assert "train 28, val 9, test 10" in ran.out
    assert "dog: 20 training images, cat: 8" in ran.out
    told = json.loads(run_lstn("doctor", "--data", f"folder:{photos}", "--format", "json").out)
    assert len(told["broken"]) == 13
    assert told["refused"] == ["train", "val"]


def test_few_broken_images_keep_nobody_from_training(photos: Path, run_lstn: RunLstn) -> None:
    broken(photos, "train", "cat", 2)
    ran = run_lstn("doctor", "--data", f"folder:{photos}")
    assert "2 of 60 images are broken" in ran.err
    assert "refuses" not in ran.err


def test_a_class_without_a_whole_image_is_told(photos: Path, run_lstn: RunLstn) -> None:
    broken(photos, "train", "cat", 20)
    ran = run_lstn("doctor", "--data", f"folder:{photos}")
    assert ran.code == 0, ran.err
    assert "class 'dog' has 20 training images, and 'cat' only 0" in ran.err


def test_a_folder_of_nothing_but_broken_images_is_one_line(photos: Path, run_lstn: RunLstn) -> None:
    for split in ("train", "val", "test"):
        for label in ("cat", "dog"):
            broken(photos, split, label, 99)
    ran = run_lstn("doctor", "--data", f"folder:{photos}")
    assert (ran.code, ran.out) == (1, "")
    assert "error: no image of 60 can be read: " in ran.err


def test_labels_are_judged_once_the_images_are_whole(photos: Path, make_tiny: MakeTiny, run_lstn: RunLstn) -> None:
    tiny = make_tiny(labels=("cat", "dog"))
    broken(photos, "train", "cat", 12)
    ran = run_lstn("doctor", "--data", f"folder:{photos}", tiny.path)
    assert ran.code == 0, ran.err
    assert "no label is judged before the broken files are repaired or removed" in ran.err


def test_a_model_that_cannot_judge_is_refused_before_the_images_are_read(
    photos: Path, tmp_path: Path, make_tiny: MakeTiny, run_lstn: RunLstn
) -> None:
    others = make_tiny(labels=("bird", "fish"))
    detector = tiny_detector(tmp_path / "detector.onnx")
    for file, says in ((others.path, "'cat' is not one of the model's"), (detector.path, "this one detects")):
        ran = run_lstn("doctor", "--data", f"folder:{photos}", file)
        assert says in ran.err
        assert (ran.code > 0, ran.out) == (True, "")
        assert "comparing" not in ran.err


def test_the_command_warns_and_json_has_all(photos: Path, run_lstn: RunLstn) -> None:
    for number in range(12):
        shutil.copy(photos / f"train/cat/{number}.png", photos / f"test/dog/copy{number}.png")
    ran = run_lstn("doctor", "--data", f"folder:{photos}")
    assert ran.code == 0, ran.err
    assert "12 pictures are in more than one split" in ran.err
    assert "12 pictures with more than one label" in ran.err
    assert "and 2 more" in ran.err
    assert "train 40, val 10, test 22" in ran.out
    told = json.loads(run_lstn("doctor", "--data", f"folder:{photos}", "--format", "json").out)
    assert len(told["copies"]) == 12
    assert {each["split"] for each in told["copies"][0]["images"]} == {"train", "test"}
    assert told["doubted"] == []
