"""What a folder is taken for, and what is refused before anything is trained on it."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lstn.contract import MAX_NAME
from lstn.data.dataset import located, open_data, require_test
from lstn.data.folders.layout import read_layout
from lstn.errors import DataError, UsageError


def fill(root: Path, counts: dict[str, int]) -> None:
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.new("L", (4, 4), index).save(root / folder / f"{index:02d}.png")


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Val", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "valid", "TEST"),
        ("train", "dev", "test"),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path: Path, train: str, val: str, test: str) -> None:
    fill(tmp_path, {f"{split}/{label}": 2 for split in (train, val, test) for label in ("a", "b")})
    fill(tmp_path, {f"{train}/a": 5})
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert (data.labels, len(data.train), len(data.val), len(data.test)) == (("a", "b"), 7, 4, 4)
    assert data.parts == "as the folders train, val and test say"
    require_test(f"folder:{tmp_path}")


def test_without_val_a_tenth_of_train_is_held_back(tmp_path: Path) -> None:
    fill(tmp_path, {"Training/a": 30, "Training/b": 12, "Test/a": 3, "Test/b": 3})
    data = {seed: open_data(f"folder:{tmp_path}", image_hw=(4, 4), seed=seed) for seed in (0, 1)}
    parts = [data[0].train.files, data[0].val.files]  # type: ignore[attr-defined]
    assert [len(part) for part in parts] == [38, 4]
    assert len({path for part in parts for path, _ in part}) == 42
    assert sorted(label for _, label in parts[1]) == [0, 0, 0, 1]
    assert {path.parts[-3] for path, _ in data[0].test.files} == {"Test"}  # type: ignore[attr-defined]
    assert parts[1] != data[1].val.files  # type: ignore[attr-defined]
    assert data[0].by_seed == {"train", "val"}
    assert "a tenth of every class of train for validation, seed 0" in data[0].parts


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"val/a": 3, "test/a": 3}, "there is val/ and test/ but no train/"),
        ({"Validation/a": 3, "Validation/b": 3}, "there is val/ but no train/"),
        ({"train/a": 3}, "there is train/ but no val/ and no test/"),
        ({"train/a": 3, "Train/a": 3, "val/a": 1}, r"(Train/ and train|train/ and Train)/ both are train"),
        ({"val/a": 3, "valid/a": 3, "train/a": 1}, "both are val"),
        ({"train2017/a": 3, "val2017/a": 3}, "train2017/, val2017/ look like splits"),
        ({"train_set/a": 3, "holdout/a": 3}, "look like splits"),
        ({"trn/a": 3, "tst/a": 3}, "trn/, tst/ look like splits"),
        ({"Trainset/a": 3, "Testset/a": 3}, "Testset/, Trainset/ look like splits"),
        ({"traindata/a": 3, "my_testdata_2/a": 3}, "look like splits"),
        ({"train": 9, "test": 9}, "(train|test): no class folders in this split"),
        ({"train/a": 3, "other/a": 3}, "train/ looks like a split, and other/ does not"),
        ({"photos/cat": 9, "photos/dog": 9}, "holds one folder, photos/, and the class folders are in that"),
        ({"photos/train/cat": 9, "photos/val/cat": 9}, "photos: holds train, val, which are splits and not a class"),
        ({"cat/train": 9, "cat/test": 9, "dog/train": 9}, r"(cat|dog): holds (test, )?train, which are splits"),
        ({"one/Training/a": 9, "two/Training/a": 9}, "which are splits"),
        ({"train/x/cat": 9, "val/x/cat": 9}, "train: holds one folder, x/"),
        ({"cat": 9, "dog": 0}, "dog: no image in this class folder"),
        ({"y" * (MAX_NAME + 1): 9, "b": 9}, "has a name of 201 characters, more than 200"),
    ],
)
def test_what_is_no_folder_of_classes_is_refused(tmp_path: Path, counts: dict[str, int], says: str) -> None:
    fill(tmp_path, counts)
    with pytest.raises(DataError, match=says):
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))


def test_the_hint_names_the_folder_to_give(tmp_path: Path) -> None:
    fill(tmp_path, {"photos/cat": 9, "photos/dog": 9})
    with pytest.raises(DataError) as caught:
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    data = open_data(caught.value.hint.removeprefix("name that one: "), image_hw=(4, 4))
    assert data.labels == ("cat", "dog")


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    """Where they hold images and no folders, and others are there."""
    fill(tmp_path, {"bus": 5, "train": 5, "test": 5})
    assert open_data(f"folder:{tmp_path}", image_hw=(4, 4)).labels == ("bus", "test", "train")


def test_what_is_odd_is_told_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, {"cat": 1, "cat/young": 9, "cat/old": 9, "cat/.git": 3, "": 4})
    (tmp_path / "cat/a.cr2").touch()
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert len(data.train) == 15
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [line.removeprefix(f"warning: {tmp_path}") for line in said] == [
        ": 4 images are not used, in no class folder",
        "/cat: images in 2 folders below it (old, …) count as one class",
        ": 1 file is not read (1 .cr2); convert images of other formats to JPEG or PNG",
        ": a single class: there is nothing to distinguish it from",
    ]
    open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert capsys.readouterr().err == ""  # once in a process


def test_other_folders_beside_splits_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 3, "raw/a": 3, "__MACOSX/a": 3})
    assert len(open_data(f"folder:{tmp_path}", image_hw=(4, 4)).train) == 6
    assert f"warning: {tmp_path}: raw/ is not a split, and is not used" in capsys.readouterr().err


def test_what_was_found_is_one_line(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 12, "train/b": 7, "val/a": 3, "val/b": 3, "test/a": 2, ".git": 1})
    (tmp_path / "train/a/.DS_Store").touch()
    assert open_data(f"folder:{tmp_path}", image_hw=(4, 4)).found == (
        f"{tmp_path}: 2 classes; 19 training, 6 validation and 2 test images; the smallest class, 'b', has 7 training "
        "images; skipped: 1 hidden or system name (.DS_Store)"
    )


def test_a_class_is_one_in_either_unicode_form(tmp_path: Path) -> None:
    """As macOS and Linux write it."""
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    fill(tmp_path, {f"train/{composed}": 3, "train/b": 3, f"val/{apart}": 2})
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert data.labels == ("b", composed)
    assert [data.val[index][1] for index in range(2)] == [1, 1]
    fill(tmp_path, {f"train/{apart}": 3})
    with pytest.raises(DataError, match=r"two folders have one name in two Unicode forms: '.*' and '.*'") as caught:
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert r"'caf\xe9'" in caught.value.message
    assert r"'cafe\u0301'" in caught.value.message


def test_a_class_that_is_not_text_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 9, "b": 9})
    os.rename(os.fsencode(tmp_path / "b"), os.fsencode(tmp_path) + b"/caf\xe9")  # noqa: PTH104
    with pytest.raises(DataError, match="caf\udce9: the name of this class folder is not text in UTF-8"):
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))


def test_a_class_that_links_back_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 9, "b": 9})
    (tmp_path / "all").symlink_to(tmp_path)
    with pytest.raises(DataError, match="all: no image in this class folder"):
        read_layout(tmp_path)


def test_a_class_may_be_a_link(tmp_path: Path) -> None:
    fill(tmp_path, {"store/x": 9, "set/b": 9})
    (tmp_path / "set/a").symlink_to(tmp_path / "store/x")
    assert {label: len(files) for label, files in read_layout(tmp_path / "set").whole.items()} == {"a": 9, "b": 9}


def test_a_folder_that_is_no_set_is_offered_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, {"photos/a": 3})
    with pytest.raises(UsageError, match="unknown data set 'photos'") as caught:
        open_data("photos", image_hw=(4, 4))
    assert caught.value.hint == "for the folder photos: --data folder:photos"
    assert located("folder:photos") == f"folder:{tmp_path}/photos"
    assert (located("digits"), located("mnist:x")) == ("digits", "mnist:x")
