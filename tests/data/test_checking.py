"""What is decoded, and how often: on real files, with the decoder's calls counted."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lstn.data.dataset import open_data
from lstn.data.folders import checking
from lstn.data.folders.checking import check_images
from lstn.errors import DataError
from lstn.images import Pixels, decode
from lstn.imaging.framing import Framing

HW = (5, 7)


@pytest.fixture
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded, in order; nothing kept before, and all files count as settled."""
    names: list[str] = []

    def counting(path: Path, image_hw: tuple[int, int], *, framing: Framing) -> Pixels:
        names.append(path.name)
        return decode(path, image_hw, framing=framing)

    monkeypatch.setattr(checking, "decode", counting)
    monkeypatch.setattr(checking, "_SETTLED_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


def fill(root: Path, count: int, start: int = 0) -> list[Path]:
    root.mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (6, 6), (start + index, 2, 3)).save(root / f"{index:02d}.png")
    return sorted(root.iterdir())


def test_contents_are_decoded_once_wherever_they_lie(tmp_path: Path, decoded: list[str]) -> None:
    paths = fill(tmp_path / "a", 6)
    first, pixels = check_images(paths, HW, "images")
    assert sorted(decoded) == [path.name for path in paths]
    assert pixels is not None
    np.testing.assert_array_equal(pixels, [decode(path, HW) for path in paths])
    decoded.clear()
    for again in (paths, paths[2:], sorted(Path(shutil.copytree(tmp_path / "a", tmp_path / "b")).iterdir())):
        found, kept = check_images(again, HW, "images")
        assert found == first[-len(again) :]
        assert kept is None  # nothing was decoded, so there is nothing to keep
    os.utime(paths[3])
    assert check_images(paths, HW, "images")[0] == first
    assert decoded == []
    Image.new("RGB", (6, 6), (99, 2, 3)).save(paths[3])
    found, _ = check_images(paths, HW, "images")
    assert decoded == ["03.png"]
    assert [one == other for one, other in zip(found, first, strict=True)].count(False) == 1


def test_files_that_may_change_within_a_tick_are_read_again(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_SETTLED_NS", 3600 * 10**9)
    paths = fill(tmp_path / "a", 3)
    first, _ = check_images(paths, HW, "images")
    stamp = paths[1].stat()
    Image.new("RGB", (6, 6), (99, 2, 3)).save(paths[1])
    os.utime(paths[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    found, _ = check_images(paths, HW, "images")
    assert found[1] != first[1]
    assert len(decoded) == 4


def test_a_broken_file_is_tried_every_time(tmp_path: Path, decoded: list[str]) -> None:
    paths = fill(tmp_path / "a", 3)
    paths[1].write_bytes(b"broken")
    for _ in range(2):
        found, _ = check_images(paths, HW, "images")
        assert found[1].broken == f"{paths[1]}: not an image"
        assert found[0].digest
    assert decoded.count("01.png") == 2
    assert len(decoded) == 4


@pytest.mark.parametrize("damage", [b"", b"x" * 70])
def test_a_damaged_cache_is_made_again(tmp_path: Path, decoded: list[str], damage: bytes) -> None:
    paths = fill(tmp_path / "a", 3)
    first, _ = check_images(paths, HW, "images")
    for kept in (tmp_path / "cache/lstn/checked").iterdir():
        kept.write_bytes(damage)
    assert check_images(paths, HW, "images")[0] == first
    assert len(decoded) == 6


def test_pixels_that_do_not_fit_are_not_kept(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = fill(tmp_path / "a", 3)
    monkeypatch.setattr(checking, "KEPT_BYTES", 3 * 5 * 7 * 3 - 1)
    assert check_images(paths, HW, "images")[1] is None
    assert len(decoded) == 3


def test_a_folder_is_decoded_once_for_checking_and_reading(tmp_path: Path, decoded: list[str]) -> None:
    for split, start in (("train", 0), ("val", 100)):
        fill(tmp_path / f"set/{split}/a", 30, start)
    broken = tmp_path / "set/train/a/05.png"
    broken.write_bytes(b"broken")
    split = open_data(f"folder:{tmp_path / 'set'}", image_hw=HW).train
    read = [split[index][0] for index in range(len(split))]
    assert len(decoded) == 30
    whole = [path for path in sorted((tmp_path / "set/train/a").iterdir()) if path != broken]
    np.testing.assert_array_equal(read, [decode(path, HW) for path in whole])
    read[0][:] = 0  # the caller's to change
    assert split[0][0].any()
    again = open_data(f"folder:{tmp_path / 'set'}", image_hw=HW).train
    assert again.fingerprint == split.fingerprint
    (tmp_path / "set/train/a/06.png").write_bytes(b"broken too")
    with pytest.raises(DataError, match="2 of 30 train images are broken"):
        _ = open_data(f"folder:{tmp_path / 'set'}", image_hw=HW).train


def test_a_pipe_is_not_opened(tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that took an image's place after it was listed."""
    paths = fill(tmp_path / "a", 2)
    paths[0].unlink()
    os.mkfifo(paths[0])
    monkeypatch.setattr(checking, "_digest_of", lambda path: b"x" * 16 if path == paths[1] else pytest.fail("opened"))
    monkeypatch.setattr(checking, "decode", lambda path, image_hw, framing: np.zeros((*image_hw, 3), np.uint8))
    assert check_images(paths, HW, "images")[0][1].digest == b"x" * 16
