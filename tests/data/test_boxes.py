"""Boxes of a folder's images: boxes.csv and GTSRB's own tables, good ones and bad ones."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lstn.contract import Fit
from lstn.data.dataset import open_data
from lstn.data.folders import box_table
from lstn.data.folders.class_folders import FolderSplit
from lstn.data.poses import pose_from_box, pose_of
from lstn.data.splits import DataSet
from lstn.errors import DataError
from lstn.imaging.framing import BLACK, Framing
from lstn.warps.warp import warp

HEAD = "path,x1,y1,x2,y2,degrees"
WIDTH, HEIGHT = 40, 30


def image(path: Path, level: int, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("L", (WIDTH, HEIGHT), level).save(path, exif=exif)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of five images, 40 x 30, the first of each stored on its side."""
    for label in ("a", "b"):
        for number in range(5):
            image(tmp_path / label / f"{number}.jpg", 40 + number, 6 if number == 0 else 1)
    return tmp_path


def opened(root: Path, side: int = 16) -> DataSet:
    return open_data(f"folder:{root}", image_hw=(side, side))


def whole(root: Path) -> FolderSplit:
    split = opened(root).split("all")
    assert isinstance(split, FolderSplit)
    return split


def corners(split: FolderSplit, root: Path, name: str) -> np.ndarray | None:
    place = [path.relative_to(root).as_posix() for path, _ in split.files].index(name)
    pose = pose_of(split, place)
    return None if pose is None else pose.theta


def write(root: Path, *rows: str, head: str = HEAD, encoding: str = "utf-8") -> None:
    (root / "boxes.csv").write_bytes("\r\n".join([head, *rows, ""]).encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_boxes_are_in_pixels_of_the_picture_as_it_is_shown(root: Path, encoding: str, separator: str) -> None:
    rows = ["a/1.jpg,10,6,30,24,", "./b/2.jpg,0,0,20,15,30", "a\\0.jpg,3,4,27,36,0", ""]
    write(root, *(row.replace(",", separator) for row in rows), head=HEAD.replace(",", separator), encoding=encoding)
    split = whole(root)
    assert np.allclose(corners(split, root, "a/1.jpg"), [[0.5, 0, 0], [0, 0.6, 0]])
    assert np.allclose(corners(split, root, "b/2.jpg"), pose_from_box((10, 7.5), (20, 15), 30, (HEIGHT, WIDTH)).theta)
    # Turned upright, the picture is 30 wide and 40 high.
    assert np.allclose(corners(split, root, "a/0.jpg"), pose_from_box((15, 20), (24, 32), 0, (40, 30)).theta)
    assert corners(split, root, "b/0.jpg") is None


@pytest.mark.parametrize("fit", Fit)
def test_a_box_stays_around_its_object_however_the_photo_is_fitted(root: Path, fit: Fit) -> None:
    picture = Image.new("RGB", (WIDTH, HEIGHT), "black")
    picture.paste("white", (14, 3, 26, 18))
    picture.save(root / "a" / "1.jpg", quality=100)
    image(root / "a" / "2.jpg", 40)
    write(root, "a/1.jpg,14,3,26,18,", "a/2.jpg,0,10,6,20,")
    split = open_data(f"folder:{root}", image_hw=(64, 40), framing=Framing(fit)).split("all")
    assert isinstance(split, FolderSplit)
    theta = corners(split, root, "a/1.jpg")
    assert theta is not None
    seen = split[[path.name for path, _ in split.files].index("1.jpg")][0]
    assert warp(seen, (theta * [0.8, 0.8, 1]).astype(np.float32), BLACK, (8, 8)).min() > 200
    around = warp(seen, (theta * [1.6, 1.6, 1]).astype(np.float32), BLACK, (8, 8))
    assert max(around[0].max(), around[-1].max(), around[:, 0].max(), around[:, -1].max()) < 60
    # Of a photo that is wider than the input the left edge is cut off, and an object with it.
    assert (corners(split, root, "a/2.jpg") is None) == (fit is Fit.CENTRE)


def test_how_many_images_have_a_box_is_said(root: Path) -> None:
    write(root, "a/1.jpg,10,6,30,24,", "b/2.jpg,0,0,20,15,")
    assert opened(root).found.endswith("boxes for 2 of 10 images")


def test_every_split_has_its_own_boxes(root: Path) -> None:
    (root / "train").mkdir()
    for label in ("a", "b"):
        (root / label).rename(root / "train" / label)
        image(root / "val" / label / "1.jpg", 90)
    write(root, "train/a/1.jpg,10,6,30,24,", "val/a/1.jpg,0,0,40,30,", "train/b/4.jpg,0,0,20,30,")
    data = opened(root)
    poses = [[pose_of(split, index) for index in range(len(split))] for split in (data.train, data.val)]
    assert [sum(pose is not None for pose in each) for each in poses] == [2, 1]
    assert np.allclose(poses[1][0].theta, np.eye(2, 3))  # type: ignore[union-attr]


def test_a_broken_image_takes_no_other_ones_box(root: Path) -> None:
    for number in range(5, 30):
        image(root / "a" / f"{number:02d}.jpg", number)
    (root / "a" / "1.jpg").write_bytes(b"\xff\xd8broken")
    write(root, "a/1.jpg,0,0,5,5,", "a/2.jpg,0,0,40,30,")
    split = whole(root)
    assert [path.name for index, (path, _) in enumerate(split.files) if pose_of(split, index)] == ["2.jpg"]


def test_boxes_do_not_change_which_images_these_are(root: Path) -> None:
    before = [opened(root).split(name).fingerprint for name in ("train", "val", "test", "all")]
    write(root, "a/1.jpg,10,6,30,24,")
    assert [opened(root).split(name).fingerprint for name in ("train", "val", "test", "all")] == before


GTSRB = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def test_gtsrbs_own_tables_are_read_beside_the_images(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "a" / "GT-00000.csv").write_text(f"{GTSRB}\n1.jpg;40;30;10;6;30;24;0\n3.jpg;40;30;0;0;40;30;0\n")
    (root / "b" / "GT-00001.csv").write_text(f"{GTSRB}\n1.jpg;40;30;0;0;20;15;1\n")
    split = whole(root)
    assert np.allclose(corners(split, root, "a/1.jpg"), [[0.5, 0, 0], [0, 0.6, 0]])
    assert np.allclose(corners(split, root, "b/1.jpg"), [[0.5, 0, -0.5], [0, 0.5, -0.5]])
    assert "not read" not in capsys.readouterr().err
    (root / "b" / "notes.csv").write_text("x\n")
    opened(root)
    assert "1 file is not read (1 .csv)" in capsys.readouterr().err


def test_a_box_for_another_size_of_the_picture_is_refused(root: Path) -> None:
    (root / "a" / "GT-00000.csv").write_text(f"{GTSRB}\n1.jpg;80;60;20;12;60;48;0\n")
    with pytest.raises(DataError, match=r"GT-00000\.csv, line 2: .*of 80 x 60 pixels, and the file has 40 x 30"):
        whole(root)


BAD: dict[str, tuple[str, str]] = {
    "left of the picture": ("a/1.jpg,-2,6,30,24,", r"line 2: the box \(-2, 6\) to \(30, 24\) is not inside"),
    "below the picture": ("a/1.jpg,10,6,30,31.5,", "line 2: .*not inside the picture, which has 40 x 30 pixels"),
    "a middle outside": ("a/1.jpg,30,6,60,10,20", "line 2: .*turned by 20 degrees, is not inside"),
    "no area": ("a/1.jpg,10,6,10,24,", r"line 2: the box \(10, 6\) to \(10, 24\) has no area"),
    "exchanged corners": ("a/1.jpg,30,24,10,6,", "line 2: .*has no area"),
    "no number": ("a/1.jpg,10,six,30,24,", "line 2: y1 is 'six', not a number"),
    "a decimal comma": ('a/1.jpg,"10,5",6,30,24,', "line 2: x1 is '10,5', not a number"),
    "infinite": ("a/1.jpg,10,6,inf,24,", "line 2: x2 is 'inf', not a number"),
    "nan": ("a/1.jpg,10,6,nan,24,", "line 2: x2 is 'nan', not a number"),
    "an angle that is none": ("a/1.jpg,10,6,30,24,up", "line 2: degrees is 'up', not a number"),
    "an empty number": ("a/1.jpg,10,,30,24,", "line 2: y1 is '', not a number"),
    "no such file": ("a/9.jpg,10,6,30,24,", "line 2: there is no file .*9.jpg"),
    "a file elsewhere": ("/a/1.jpg,10,6,30,24,", "line 2: /a/1.jpg is not a path below"),
    "a file above": ("../a/1.jpg,10,6,30,24,", "line 2: ../a/1.jpg is not a path below"),
    "hardly an area": ("a/1.jpg,10,6,10.00001,24,", "line 2: .*is smaller than a pixel"),
    "numbers that float32 has not": ("a/1.jpg,0,0,1e-50,1e-50,", "line 2: .*is smaller than a pixel"),
    "wholly in the slack": ("a/1.jpg,-1,-1,0,0.5,", "line 2: .*not inside the picture"),
    "many turns": ("a/1.jpg,10,6,30,24,1e300", r"line 2: degrees 1e\+300 is more than a full turn"),
    "a zero byte": ("a/\0.jpg,10,6,30,24,", "line 2: there is no file|not a row of a .csv"),
    "a very long name": ("a" * 5000 + ",10,6,30,24,", "line 2: there is no file"),
    "a second box": (
        "a/1.jpg,10,6,30,24,\na/1.jpg,1,1,9,9,",
        "line 3: a second box for a/1.jpg; the first is .*line 2",
    ),
    "a second box by another way": ("a/1.jpg,10,6,30,24,\nb/../a/./1.jpg,1,1,9,9,", "line 3: a second box for b/../a"),
    "too few values": ("a/1.jpg,10,6,30", "line 2: 4 values; expected 6"),
    "too many values": ("a/1.jpg,10,6,30,24,0,0", "line 2: 7 values; expected 6"),
    "an open quote": ('"a/1.jpg,10,6,30,24,', "line 2: not a row of a .csv file"),
    "an endless value": ("a" * 200_000 + ",10,6,30,24,", "line 2: not a row of a .csv file"),
}


@pytest.mark.parametrize(("row", "says"), BAD.values(), ids=BAD)
def test_a_bad_row_is_one_line_that_names_it(root: Path, row: str, says: str) -> None:
    write(root, row)
    with pytest.raises(DataError, match=says) as caught:
        whole(root)
    assert caught.value.message.startswith(str(root / "boxes.csv"))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_pixel_too_many_is_none(root: Path) -> None:
    write(root, "a/1.jpg,-1,-1,41,31,", "a/2.jpg,0,5,39,25,90")
    assert corners(whole(root), root, "a/1.jpg") is not None
    assert corners(whole(root), root, "a/2.jpg") is not None


def test_a_file_that_is_no_image_of_the_set_needs_no_box(root: Path) -> None:
    (root / "a" / "1.cr2").write_bytes(b"not read")
    write(root, "a/1.cr2,10,6,30,24,", "a/1.jpg,10,6,30,24,")
    assert opened(root).found.endswith("boxes for 1 of 10 images")


HEADS: dict[str, tuple[str, str]] = {
    "none": ("a/1.jpg,10,6,30,24", "no column path, x1, y1, x2, y2 in its first row, 'a/1.jpg,10,6,30,24'"),
    "one lacks": ("path,x1,y1,x2", "no column y2 in its first row"),
    "twice": ("path,x1,y1,x2,y2,x1", "two columns are x1"),
    "nothing": ("", "no column path"),
}


@pytest.mark.parametrize(("head", "says"), HEADS.values(), ids=HEADS)
def test_columns_that_lack_are_named(root: Path, head: str, says: str) -> None:
    write(root, head=head)
    with pytest.raises(DataError, match=says):
        opened(root)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused(root: Path, encoding: str) -> None:
    write(root, "a/grün.jpg,10,6,30,24,", encoding=encoding)
    with pytest.raises(DataError, match=r"boxes\.csv: not text in UTF-8 \(byte \d+ is 0x") as caught:
        opened(root)
    assert "UTF-8" in caught.value.hint


def test_a_huge_table_is_refused_before_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root, "a/1.jpg,10,6,30,24,")
    monkeypatch.setattr(box_table, "MOST_BYTES", 20)
    with pytest.raises(DataError, match=r"boxes\.csv: larger than"):
        opened(root)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_lost_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [a_pipe, a_lost_link])
def test_what_is_no_file_is_refused_and_not_waited_for(root: Path, make: Callable[[Path], None]) -> None:
    make(root / "boxes.csv")
    with pytest.raises(DataError, match=r"boxes\.csv: not a regular file"):
        opened(root)


def test_names_in_either_form_of_unicode_are_one(root: Path) -> None:
    image(root / "a" / "gru\u0308n.jpg", 7)
    write(root, "a/gr\u00fcn.jpg,0,0,40,30,")
    assert opened(root).found.endswith("boxes for 1 of 11 images")


def test_a_tiff_on_its_side_is_measured_as_it_is_shown(root: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT), 9).save(data, "TIFF", exif=exif)
    (root / "a" / "t.tif").write_bytes(data.getvalue())
    write(root, "a/t.tif,0,0,30,40,")
    found = corners(whole(root), root, "a/t.tif")
    assert found is not None
    assert np.allclose(found, np.eye(2, 3))


def test_a_table_below_the_folder_is_not_passed_over_in_silence(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        for label in ("a", "b"):
            image(root / split / label / "1.jpg", 90)
    for label in ("a", "b"):
        shutil.rmtree(root / label)
    (root / "train" / "boxes.csv").write_text(f"{HEAD}\na/1.jpg,0,0,9,9,\n")
    assert "boxes" not in opened(root).found
    said = capsys.readouterr().err
    assert f"warning: {root}/train/boxes.csv is not read; boxes are read from {root}/boxes.csv" in said
    assert "such as train/image.jpg" in said


def test_a_table_without_rows_is_remarked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root)
    assert opened(root).found.endswith("boxes for 0 of 10 images")
    assert f"warning: {root}/boxes.csv: no rows below the first one" in capsys.readouterr().err
