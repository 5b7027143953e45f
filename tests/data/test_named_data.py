import io
import shutil
import tarfile
import zipfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from published_sets import accept, add, write_caltech101, write_cifar10, write_gtsrb, write_svhn
from torchvision.datasets import CIFAR10, SVHN, Caltech101, ImageFolder

from lstn.data.dataset import open_data
from lstn.data.published import unpacking
from lstn.data.published.mat_file import read_mat
from lstn.data.published.named_sets import NAMED
from lstn.data.published.sign_names import SIGN_NAMES
from lstn.data.published.unpacking import split_by_shares
from lstn.errors import DataError, UsageError

Seen = dict[str, tuple[str, bytes]]


def unpacked(folder: Path) -> Seen:
    """Name of the file -> class and pixels, of train and val."""
    return {
        path.name: (path.parent.name, np.asarray(Image.open(path).convert("RGB")).tobytes())
        for path in folder.glob("*/*/*")
        if path.parts[-3] != "test"
    }


def test_cifar10_is_what_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    accept(monkeypatch, "cifar10", tmp_path)
    data = open_data(f"cifar10:{tmp_path}", image_hw=(32, 32))
    assert (len(data.train), len(data.val), len(data.test)) == (80, 20, 20)
    assert Counter(data.val[i][1] for i in range(20)) == dict.fromkeys(range(10), 2)
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)  # it knows the official files alone
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    found = unpacked(tmp_path / "images/cifar10")
    theirs = CIFAR10(tmp_path, train=True)
    assert len(found) == len(theirs) == 100
    for number, (image, target) in enumerate(theirs):
        assert found[f"{number:05d}.png"] == (data.labels[target], np.asarray(image).tobytes())
    folder = ImageFolder(tmp_path / "images/cifar10/train")  # and any other tool reads it too
    assert folder.classes == list(data.labels)


@pytest.mark.parametrize("compressed", [True, False])
def test_svhn_is_what_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool) -> None:
    write_svhn(tmp_path, compressed=compressed)
    accept(monkeypatch, "svhn", tmp_path)
    data = open_data(f"svhn:{tmp_path}", image_hw=(32, 32))
    monkeypatch.setattr(SVHN, "_check_integrity", lambda self: True)
    found = unpacked(tmp_path / "images/svhn")
    theirs = SVHN(str(tmp_path), "train")
    for number, (image, target) in enumerate(theirs):
        assert found[f"{number:05d}.png"] == (str(target), np.asarray(image).tobytes())
    assert len(found) == len(theirs)
    assert (len(data.val), len(data.test), data.mirrors) == (6, 20, False)


def test_caltech101_has_the_classes_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_caltech101(tmp_path, {"BACKGROUND_Google": 9, "Faces": 50, "accordion": 30, "wild_cat": 20})
    accept(monkeypatch, "caltech101", tmp_path)
    data = open_data(f"caltech101:{tmp_path}", image_hw=(6, 6))
    monkeypatch.setattr(Caltech101, "_check_integrity", lambda self: True)
    with zipfile.ZipFile(tmp_path / "caltech101/caltech-101.zip") as outer:
        inner = io.BytesIO(outer.read("caltech-101/101_ObjectCategories.tar.gz"))
        with tarfile.open(fileobj=inner) as pack:
            pack.extractall(tmp_path / "caltech101", filter="data")
    theirs = Caltech101(tmp_path)
    assert list(data.labels) == theirs.categories
    assert (len(data.train), len(data.val), len(data.test)) == (74, 13, 13)
    seen = Counter(
        (split[i][0].tobytes(), split[i][1]) for split in (data.train, data.val, data.test) for i in range(len(split))
    )
    assert seen == Counter((np.asarray(image.convert("RGB")).tobytes(), target) for image, target in theirs)


def test_gtsrb_tracks_stay_together_and_test_classes_are_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gtsrb(tmp_path)
    accept(monkeypatch, "gtsrb", tmp_path)
    data = open_data(f"gtsrb:{tmp_path}", image_hw=(6, 6))
    folder = tmp_path / "images/gtsrb"
    tracks = {
        split: {f"{path.parent.name}/{path.name[:5]}" for path in (folder / split).glob("*/*")}
        for split in ("train", "val")
    }
    assert not tracks["train"] & tracks["val"]
    assert len(tracks["val"]) == 3  # one of every class's five
    assert len(data.train) + len(data.val) == 60
    assert {(int(data.test[i][0][0, 0, 0]) - 200, data.test[i][1]) for i in range(6)} == {
        (n, n * 7 % 3) for n in range(6)
    }


def test_gtsrbs_classes_have_names_for_a_model_that_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gtsrb(tmp_path, classes=43, tracks=2, frames=1, test=43)
    accept(monkeypatch, "gtsrb", tmp_path)
    spec, numbers = f"gtsrb:{tmp_path}", tuple(f"{number:02d}" for number in range(43))
    named, numbered = (open_data(spec, image_hw=(6, 6), labels=labels) for labels in (SIGN_NAMES, numbers))
    assert open_data(spec, image_hw=(6, 6)).labels == numbered.labels == numbers
    assert named.labels == SIGN_NAMES
    assert [named.test[i][1] for i in range(43)] == [numbered.test[i][1] for i in range(43)] == [*range(43)]
    assert open_data(spec, image_hw=(6, 6), labels=SIGN_NAMES[::-1]).labels == numbers  # which `check_labels` refuses


def test_signs_have_names_that_differ() -> None:
    assert len(set(SIGN_NAMES)) == 43


def test_a_set_that_was_unpacked_without_boxes_is_remarked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_gtsrb(tmp_path)
    accept(monkeypatch, "gtsrb", tmp_path)
    open_data(f"gtsrb:{tmp_path}", image_hw=(6, 6))
    assert "warning" not in capsys.readouterr().err
    folder = tmp_path / "images/gtsrb"
    (folder / "boxes.csv").unlink()
    open_data(f"gtsrb:{tmp_path}", image_hw=(6, 6))
    assert f"warning: {folder} has no boxes.csv" in capsys.readouterr().err


def test_a_set_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    accept(monkeypatch, "cifar10", tmp_path)
    first = open_data(f"cifar10:{tmp_path}", image_hw=(32, 32)).train
    (tmp_path / "cifar-10-binary.tar.gz").unlink()
    again = open_data(f"cifar10:{tmp_path}", image_hw=(32, 32)).train
    assert again.fingerprint == first.fingerprint


def test_a_folder_that_was_half_unpacked_never_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    whole = (tmp_path / "cifar-10-binary.tar.gz").read_bytes()
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(whole[: len(whole) * 3 // 4])
    accept(monkeypatch, "cifar10", tmp_path)
    with pytest.raises(DataError, match="damaged or foreign archive"):
        open_data(f"cifar10:{tmp_path}", image_hw=(32, 32))
    assert not any((tmp_path / "images").iterdir())


def test_another_process_may_have_been_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    accept(monkeypatch, "cifar10", tmp_path)
    rename = Path.rename

    def late(source: Path, target: Path) -> Path:
        shutil.copytree(source, target)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", late)
    assert len(open_data(f"cifar10:{tmp_path}", image_hw=(32, 32)).train) == 80
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["cifar10"]


def test_a_data_root_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    accept(monkeypatch, "cifar10", tmp_path)
    (tmp_path / "images").write_bytes(b"in the way")
    with pytest.raises(DataError, match="cannot unpack into") as caught:
        open_data(f"cifar10:{tmp_path}", image_hw=(32, 32))
    assert "--data-root" in caught.value.hint


@pytest.mark.parametrize("name", sorted(NAMED))
def test_missing_files_are_named_with_their_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="files are missing below") as caught:
        open_data(f"{name}:{tmp_path}", image_hw=(32, 32))
    for file in NAMED[name].files:
        assert f"{file.urls[0]} at {tmp_path / file.path}" in caught.value.hint


def test_checksums_and_addresses_are_torchvisions() -> None:
    assert NAMED["cifar10"].files[0].urls == (CIFAR10.url.replace("python", "binary"),)
    theirs = [SVHN.split_list[split] for split in ("train", "test")]
    assert [[*file.urls, file.path, file.md5] for file in NAMED["svhn"].files] == theirs


@pytest.mark.parametrize("batch", [bytes(3072), bytes(3074), b"\x0a" + bytes(3072)])
def test_a_cifar10_batch_of_other_records_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: bytes
) -> None:
    """A byte too few, one too many, and a label that no class has."""
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as pack:
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
            add(pack, f"cifar-10-batches-bin/{name}.bin", batch)
    accept(monkeypatch, "cifar10", tmp_path)
    with pytest.raises(DataError, match="damaged or foreign archive"):
        open_data(f"cifar10:{tmp_path}", image_hw=(32, 32))
    assert not any((tmp_path / "images").iterdir())


def test_hostile_members_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as pack:
        for name in ("../../evil/image_0001.jpg", "/abs/image_0001.jpg", "101_ObjectCategories/../image_0001.jpg"):
            add(pack, name, b"x")
        link = tarfile.TarInfo("101_ObjectCategories/cat/image_0001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        pack.addfile(link)
    (tmp_path / "caltech101").mkdir()
    with zipfile.ZipFile(tmp_path / "caltech101/caltech-101.zip", "w") as outer:
        outer.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
    accept(monkeypatch, "caltech101", tmp_path)
    with pytest.raises(DataError, match="no 101_ObjectCategories"):
        open_data(f"caltech101:{tmp_path}", image_hw=(6, 6))
    assert {path.name for path in tmp_path.rglob("*")} == {"caltech101", "caltech-101.zip", "images"}


@pytest.mark.parametrize("limit", ["MAX_TOTAL", "MAX_MEMBER", "MAX_MEMBERS"])
def test_archives_that_swell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    write_cifar10(tmp_path)
    accept(monkeypatch, "cifar10", tmp_path)
    monkeypatch.setattr(unpacking, limit, {"MAX_MEMBERS": 3}.get(limit, 50_000))
    with pytest.raises(DataError, match="more than"):
        open_data(f"cifar10:{tmp_path}", image_hw=(32, 32))


@given(st.binary(max_size=300))
def test_a_damaged_mat_file_is_a_value_error(tail: bytes) -> None:
    with pytest.raises(ValueError, match=r"MATLAB|cut off|matrix|no X|too much|decod|codec") as caught:
        read_mat(bytes(124) + b"\x00\x01IM" + tail, {"X": (1, None)}, 1000)
    assert caught.value


@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.integers(1, 5), st.integers(6, 30))
def test_shares_are_exact_and_even(classes: list[int], part: int, whole: int) -> None:
    share = Fraction(part, 2 * whole)
    splits = split_by_shares(classes, {"val": share, "test": share})
    assert splits == split_by_shares(classes, {"val": share, "test": share})
    for split in ("val", "test"):
        assert splits.count(split) == int(len(classes) * share)
    for label, count in Counter(classes).items():
        chosen = sum(s == "val" for c, s in zip(classes, splits, strict=True) if c == label)
        assert abs(chosen - count * share) <= 2


def test_the_papers_splits_have_their_sizes() -> None:
    cifar10 = split_by_shares([n % 10 for n in range(50_000)], {"val": Fraction(1, 5)})
    assert Counter(cifar10) == {"train": 40_000, "val": 10_000}
    caltech101 = split_by_shares([n % 101 for n in range(8677)], {s: Fraction(1200, 8677) for s in ("val", "test")})  # type: ignore[misc]
    assert Counter(caltech101) == {"train": 6277, "val": 1200, "test": 1200}


def test_an_unknown_name_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="unknown data set 'cifar100'"):
        open_data("cifar100", image_hw=(32, 32))
