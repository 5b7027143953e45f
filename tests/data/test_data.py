import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lstn.contract import Contract, Loc
from lstn.data import digits
from lstn.data.dataset import open_data, open_data_of, require_test
from lstn.data.folders import checking
from lstn.errors import DataError, UsageError


def save_image(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (value, value, value)).save(path)


def fill(root: Path, counts: dict[str, int]) -> None:
    for folder, count in counts.items():
        for index in range(count):
            save_image(root / folder / f"{index:03d}.png", index)


def read(split: object) -> list[tuple[int, int]]:
    """(gray level, label) of every image: the level tells the file."""
    return [(int(split[i][0][0, 0, 0]), split[i][1]) for i in range(len(split))]  # type: ignore[index,arg-type]


def test_split_folders_are_read_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path, {"train/b": 3, "train/a": 2, "val/a": 1, "val/b": 1, "test/b": 2})
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert data.labels == ("a", "b")
    assert read(data.train) == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]
    assert read(data.test) == [(0, 1), (1, 1)]
    assert data.train.redrawn(2) is data.train


def test_val_serves_for_a_missing_test_but_not_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 2})
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert read(data.val) == [(0, 0), (1, 0)]
    assert len(data.train) == 2
    assert "warning" not in capsys.readouterr().err  # whoever asks for no test images isn't told that there are none
    assert read(data.test) == read(data.val)
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))
    assert said.startswith(f"warning: no {tmp_path / 'test'}: the validation images are tested")
    assert data.test_is_val
    assert data.parts.endswith("without test images, those of val are tested")


def test_a_set_without_test_images_can_be_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 2})
    with pytest.raises(UsageError, match="no test/") as caught:
        require_test(f"folder:{tmp_path}")
    assert caught.value.hint == f"make {tmp_path / 'test'}"
    fill(tmp_path, {"test/a": 1})
    require_test(f"folder:{tmp_path}")
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert (len(data.test), data.test_is_val, data.parts) == (1, False, "as the folders train, val and test say")
    assert "warning" not in capsys.readouterr().err
    fill(tmp_path / "whole", {"a": 5})
    for spec in (f"folder:{tmp_path / 'whole'}", "digits", "cifar10"):
        require_test(spec)


def test_plain_class_folders_are_split_80_10_10_by_the_seed(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 50, "dog": 20, ".hidden": 5})
    splits = {seed: open_data(f"folder:{tmp_path}", image_hw=(4, 4), seed=seed) for seed in (0, 1)}
    parts = [read(split) for split in (splits[0].train, splits[0].val, splits[0].test)]
    assert [[sum(label == c for _, label in part) for c in (0, 1)] for part in parts] == [[40, 16], [5, 2], [5, 2]]
    assert len({row for part in parts for row in part}) == 70
    assert read(splits[1].val) != parts[1]
    assert read(open_data(f"folder:{tmp_path}", image_hw=(4, 4), seed=0).val) == parts[1]


def test_a_few_broken_images_are_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, {"train/a": 30, "val/a": 1})
    (tmp_path / "train/a/005.png").write_bytes(b"broken")
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert len(data.train) == 29
    said = capsys.readouterr().err
    assert "1 of 30 train images is broken" in said
    assert "005.png" in said


@pytest.mark.parametrize("inside", ["train/b", "b"])
def test_a_class_whose_training_images_are_all_broken_is_refused(tmp_path: Path, inside: str) -> None:
    """Of few images among many; of a folder that is split here, one image of three is trained on."""
    fill(tmp_path, {"train/a": 30, "train/b": 1, "val/a": 2} if "/" in inside else {"a": 40, "b": 3})
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    last = next(path for path, label in data.train.files if label == 1)  # type: ignore[attr-defined]
    last.write_bytes(b"broken")
    with pytest.raises(DataError, match=f"class 'b': every training image is broken: .*{last.name}: not an image"):
        _ = open_data(f"folder:{tmp_path}", image_hw=(4, 4)).train
    last.unlink()
    save_image(last)
    save_image(last.with_name("zzz.png"))
    broken = tmp_path / "val/b/0.png"
    if "/" in inside:  # a class needn't be validated
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"broken")
        fill(tmp_path, {"val/a": 40})
        assert len(open_data(f"folder:{tmp_path}", image_hw=(4, 4)).val) == 40
    assert {label for _, label in read(open_data(f"folder:{tmp_path}", image_hw=(4, 4)).train)} == {0, 1}


def test_many_broken_images_are_an_error(tmp_path: Path) -> None:
    fill(tmp_path, {"train/a": 10, "val/a": 1})
    (tmp_path / "train/a/005.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"1 of 10 train images is broken, more than 5%.*005\.png"):
        _ = open_data(f"folder:{tmp_path}", image_hw=(4, 4)).train


@pytest.mark.parametrize(
    ("counts", "error", "says"),
    [
        ({}, DataError, "no class folders"),
        ({"train/a": 1}, DataError, "no val/"),
        ({"train/a": 1, "val/b": 1}, DataError, "class 'b' is not in train"),
        ({"a": 2}, DataError, "too few"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, counts: dict[str, int], error: type, says: str) -> None:
    fill(tmp_path, counts)
    with pytest.raises(error, match=says):
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))


def test_an_empty_class_folder_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 5})
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="no image in this class folder"):
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))


@pytest.mark.parametrize(
    ("spec", "says"), [("cifar", "unknown data set"), ("folder:/nowhere/at/all", "no such folder")]
)
def test_a_name_that_is_no_data_set_is_wrong_use(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_data(spec, image_hw=(4, 4))


@pytest.mark.parametrize("folder", ["train/b", "val/b"])
def test_a_class_of_one_image_is_enough_where_splits_are_given(tmp_path: Path, folder: str) -> None:
    fill(tmp_path, {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    for path in list((tmp_path / folder).iterdir())[1:]:
        path.unlink()
    data = open_data(f"folder:{tmp_path}", image_hw=(4, 4))
    assert sum(label == 1 for split in (data.train, data.val) for _, label in read(split)) in (3, 4)


def test_a_trained_models_data_has_its_size_and_its_seed(tmp_path: Path) -> None:
    fill(tmp_path, {"ant": 30, "bee": 30})
    contract = Contract(Loc.LSTN, "cnn", (40, 28), ("ant", "bee"))
    data = open_data_of(contract, f"folder:{tmp_path}", seed=5)
    assert data.test[0][0].shape == (40, 28, 3)
    test = {seed: read(open_data(f"folder:{tmp_path}", image_hw=(40, 28), seed=seed).test) for seed in (0, 5)}
    assert read(data.test) == test[5] != test[0]


def test_a_seed_that_decides_what_was_trained_on_is_not_guessed(tmp_path: Path) -> None:
    fill(tmp_path, {"ant": 30, "bee": 30})
    fill(
        tmp_path.with_suffix(".divided"),
        {f"{split}/{label}": 3 for split in ("train", "val") for label in ("ant", "bee")},
    )
    contract = Contract(Loc.LSTN, "cnn", (40, 28), ("ant", "bee"))
    for split in ("train", "val", "test"):
        with pytest.raises(UsageError, match="is split by a seed, and this file doesn't say which") as caught:
            open_data_of(contract, f"folder:{tmp_path}", seed=None).split(split)  # type: ignore[arg-type]
        assert "add --seed N" in caught.value.hint
    assert len(open_data_of(contract, f"folder:{tmp_path}", seed=None).split("all")) == 60
    assert len(open_data_of(contract, f"folder:{tmp_path}", seed=0).val) == 6
    two = Contract(Loc.LSTN, "cnn", (40, 28), ("ant", "bee"))
    assert len(open_data_of(two, f"folder:{tmp_path.with_suffix('.divided')}", seed=None).val) == 6
    ten = Contract(Loc.LSTN, "cnn", (40, 28), digits.DIGIT_LABELS)
    drawn = {seed: open_data_of(ten, "digits", seed=seed).test.fingerprint for seed in (None, 0, 1)}
    assert drawn[None] == drawn[0] != drawn[1]


def test_a_trained_models_data_is_numbered_by_its_classes(tmp_path: Path) -> None:
    """Whatever the order of its folders, and however few of them."""
    fill(tmp_path, {"train/ant": 1, "train/bee": 1, "val/bee": 1})
    for labels, wanted in ((("ant", "bee"), [0, 1]), (("bee", "ant"), [1, 0]), (("x", "bee", "y", "ant"), [3, 1])):
        data = open_data_of(Contract(Loc.LSTN, "cnn", (32, 32), labels), f"folder:{tmp_path}", seed=0)
        assert data.labels == labels
        assert [label for _, label in read(data.train)] == wanted
        assert [label for _, label in read(data.val)] == wanted[1:]


def test_a_trained_models_data_has_no_other_classes(tmp_path: Path) -> None:
    fill(tmp_path, {"train/ant": 1, "train/bee": 1, "val/ant": 1, "val/bee": 1})
    with pytest.raises(DataError, match=r"train: class 'bee' is not one of the model's 2 classes \('ant', …\)"):
        open_data_of(Contract(Loc.LSTN, "cnn", (32, 32), ("ant", "wasp")), f"folder:{tmp_path}", seed=0)
    with pytest.raises(DataError, match="--data digits has 10 classes, '0' first; the model has 1 class"):
        open_data_of(Contract(Loc.LSTN, "cnn", (32, 32), ("ant",)), "digits", seed=0)


def test_a_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 10, "b": 1})
    with pytest.raises(DataError, match=r"b: 1 image, too few for train, val and test"):
        open_data(f"folder:{tmp_path}", image_hw=(4, 4))


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, and no right to read everything, which root has."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)


def test_unreadable_images_and_folders_are_told(unprivileged: Path) -> None:
    fill(unprivileged, {"train/a": 4, "val/a": 4})
    (unprivileged / "train/a/002.png").chmod(0)
    with pytest.raises(DataError, match=r"1 of 4 train images is broken.*002\.png: Permission denied"):
        _ = open_data(f"folder:{unprivileged}", image_hw=(4, 4)).train
    (unprivileged / "val/a").chmod(0)
    with pytest.raises(DataError, match=r"val/a: Permission denied"):
        open_data(f"folder:{unprivileged}", image_hw=(4, 4))
    (unprivileged / "val/a").chmod(0o700)


def fingerprint(root: Path) -> str:
    return open_data(f"folder:{root}", image_hw=(4, 4)).train.fingerprint


def test_a_fingerprint_is_of_what_is_in_the_images_their_order_and_their_labels(tmp_path: Path) -> None:
    root = tmp_path / "set"
    fill(root, {"train/a": 2, "train/b": 2, "val/a": 1})
    first = fingerprint(root)
    assert fingerprint(Path(shutil.copytree(root, tmp_path / "moved"))) == first
    one, other = root / "train/a/000.png", root / "train/a/001.png"
    save_image(one, 200)
    assert fingerprint(root) != first
    save_image(one, 1)
    save_image(other, 0)
    assert fingerprint(root) != first
    save_image(one, 0)
    save_image(other, 1)
    assert fingerprint(root) == first
    other.rename(root / "train/b/-.png")  # the second image of all, as before, but of the other class
    assert fingerprint(root) != first


def test_a_change_behind_the_same_name_size_and_time_of_writing_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `cp -p` leaves it, whether or not something was kept about the images before."""
    for settled in (0, checking._SETTLED_NS):
        monkeypatch.setattr(checking, "_SETTLED_NS", settled)
        root = tmp_path / str(settled)
        fill(root, {"train/a": 3, "val/a": 1})
        image = root / "train/a/001.bmp"
        save_image(image, 10)
        os.utime(image, ns=(1, 1))
        first = fingerprint(root)
        assert fingerprint(root) == first
        time.sleep(0.05)  # longer than a tick of the file system's clock
        save_image(image, 20)
        os.utime(image, ns=(1, 1))
        assert fingerprint(root) != first


def test_nothing_is_kept_of_images_that_may_change_within_a_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fill(tmp_path / "set", {"train/a": 3, "val/a": 1})
    for settled, kept in ((3600 * 10**9, 0), (0, 1)):
        monkeypatch.setattr(checking, "_SETTLED_NS", settled)
        fingerprint(tmp_path / "set")
        assert len(list((tmp_path / "cache").glob(f"lstn/checked/{'[0-9a-f]' * 32}.bin"))) == kept
