"""Images whose text is known: drawn numbers, and tables of texts; what is wrong with one is one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_texts import HW, block_texts

from lstn.contract import Contract, Loc, Task
from lstn.data.objects import objects_of
from lstn.data.scenes.placing import in_row
from lstn.data.splits import DataSet
from lstn.data.texts.text_sets import check_lengths, open_texts, open_texts_of
from lstn.errors import DataError, LstnError, UsageError
from lstn.warps.quadrilaterals import upright_boxes
from lstn.warps.warp import CORNERS, in_pixels, sampled

CONTRACT = Contract(Loc.GLANCE, "cnn", HW, ("b", "g", "r"), task=Task.READ, warps=3, crop_hw=(8, 8))


def numbers(hw: tuple[int, int] = (64, 80), seed: int = 0) -> DataSet:
    return open_texts("numbers-digits", image_hw=hw, seed=seed)


def test_numbers_are_one_to_five_digits_from_left_to_right() -> None:
    split = numbers().train
    found = [objects_of(split, index) for index in range(300)]
    assert {len(each) for each in found} == {1, 2, 3, 4, 5}
    for index, each in enumerate(found):
        assert (np.diff(each.thetas[:, 0, 2]) > 0).all()
        assert each.labels[0] == split.redrawn(3)[index][1]  # the first digit is always the same one
    digits = np.concatenate([each.labels for each in found])
    assert set(digits.tolist()) == set(range(10))


@pytest.mark.parametrize("hw", [(128, 128), (64, 160), (160, 64), (24, 200)])
def test_rows_lie_wholly_in_the_picture(hw: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        shapes = [(1.0, 1.0)] * int(random.integers(1, 6))
        thetas = np.stack([pose.theta for pose in in_row(shapes, hw, random) if pose is not None])
        assert len(thetas) == len(shapes)
        left, top, right, bottom = upright_boxes(thetas, hw).T
        assert min(left.min(), top.min()) >= -1e-3
        assert right.max() <= hw[1] + 1e-3
        assert bottom.max() <= hw[0] + 1e-3
        corners = in_pixels(sampled(thetas, CORNERS), hw)
        sides = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
        assert np.ptp(sides) < 1e-2  # all of one height


def test_a_digit_is_painted_where_its_box_is() -> None:
    """What differs between two pictures that differ in one digit's box lies in that box."""
    split = numbers((96, 96)).test
    for index in range(20):
        scene = split.scene(index)  # type: ignore[attr-defined]
        thetas = objects_of(split, index).thetas
        boxes = upright_boxes(thetas, (96, 96))
        for found, (left, top, right, bottom) in zip(scene.objects, boxes, strict=True):
            assert found.box == pytest.approx((left, top, right, bottom))
            inside = scene.pixels[round(top) : round(bottom), round(left) : round(right)].astype(float)
            assert inside.std() > 5  # a contrasting colour


def test_numbers_depend_on_seed_epoch_and_split_alone() -> None:
    one, again, other = (numbers(seed=seed).train for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[5][0], again[5][0])
    assert (one[5][0] != other[5][0]).any()
    assert (one.redrawn(2)[5][0] != one[5][0]).any()
    np.testing.assert_array_equal(numbers(seed=1).test[5][0], numbers(seed=2).test[5][0])
    assert len({numbers().train.fingerprint, numbers().val.fingerprint, numbers((64, 64)).train.fingerprint}) == 3


def test_a_table_says_texts_and_boxes(tmp_path: Path) -> None:
    data = open_texts(f"folder:{block_texts(tmp_path, train=12, test=4)}", image_hw=(64, 128))
    assert data.labels == ("b", "g", "r")
    assert "12 training texts, 4 validation texts and 4 test texts" in data.found
    assert "boxes for 20 of 20" in data.found
    rows = (tmp_path / "train/labels.csv").read_text().splitlines()[1:]
    for index, (path, _) in enumerate(data.train.files):  # type: ignore[attr-defined]
        row = next(row for row in rows if row.startswith(f"{path.name},"))
        _, text, boxes = row.split(",")
        found = objects_of(data.train, index)
        assert "".join(data.labels[label] for label in found.labels) == text
        wanted = [[float(side) for side in box.split()] for box in boxes.split(";")]
        np.testing.assert_allclose(upright_boxes(found.thetas, HW), wanted, atol=1e-3)  # in pixels of the file


def test_a_table_without_boxes_says_texts_alone(tmp_path: Path) -> None:
    data = open_texts(f"folder:{block_texts(tmp_path, train=12, test=4, boxes=False)}", image_hw=HW)
    found = objects_of(data.train, 0)
    assert np.isnan(found.thetas).all()
    assert found.thetas.shape == (len(found), 2, 3)


def one_table(root: Path, *rows: str, first: str = "path,text,boxes") -> str:
    root.mkdir(exist_ok=True)
    for name in "abcdef":
        Image.new("RGB", (40, 20), "gray").save(root / f"{name}.png")
    (root / "labels.csv").write_text("\n".join([first, *rows]) + "\n", encoding="utf-8")
    return f"folder:{root}"


FIVE = ("a.png,12,", "b.png,21,", "c.png,1,", "d.png,2,", "e.png,22,")


def test_one_table_is_divided_by_the_seed(tmp_path: Path) -> None:
    spec = one_table(tmp_path, *FIVE)
    one, again, other = (open_texts(spec, image_hw=(20, 40), seed=seed) for seed in (0, 0, 5))
    assert [len(each) for each in (one.train, one.val, one.test)] == [3, 1, 1]
    assert one.train.fingerprint == again.train.fingerprint
    assert one.by_seed == {"train", "val", "test"}
    assert len(one.split("all")) == 5
    assert {path.name for each in (one.train, one.val, one.test) for path, _ in each.files} == {  # type: ignore[attr-defined]
        f"{name}.png" for name in "abcde"
    }
    assert other.labels == one.labels == ("1", "2")


def test_spaces_are_symbols_and_accents_are_one(tmp_path: Path) -> None:
    spec = one_table(tmp_path, "a.png,e\u0301 1,", "b.png,\u00e9 1,", "c.png,1 \u00e9,")
    data = open_texts(spec, image_hw=(20, 40))
    assert data.labels == (" ", "1", "\u00e9")


def opened(spec: str) -> None:
    data = open_texts(spec, image_hw=(20, 40))
    _ = data.train, data.val, data.test


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("f.png,,", "line 7: an empty text"),
        ("gone.png,1,", "line 7: there is no file"),
        ("../f.png,1,", "is not a path below"),
        ("a.png,1,", "line 7: a second text for a.png; the first is in"),
        ("f.png,12,0 0 5 5", "line 7: 1 boxes for the 2 symbols of '12'"),
        ("f.png,1,0 0 5", "'0 0 5' is not a box"),
        ("f.png,1,0 0 5 nan", "'0 0 5 nan' is not a box"),
        ("f.png,1,0 0 five 5", "'0 0 five 5' is not a box"),
        ("f.png,1,0 0 50 5", "line 7: the box (0, 0) to (50, 5) is not inside the picture"),
        ("f.png,1,5 5 5 9", "has no area"),
        ("f.png,1", "2 values; expected 3"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(DataError) as raised:
        opened(one_table(tmp_path, *FIVE, row))
    assert told in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("first", "told"), [("path,label", "no column text"), ("path,text,text", "two columns are text")]
)
def test_a_bad_first_row_is_one_line(tmp_path: Path, first: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        open_texts(one_table(tmp_path, "a.png,1", first=first), image_hw=(20, 40))


def test_symbols_that_training_does_not_show_are_named(tmp_path: Path) -> None:
    root = block_texts(tmp_path, train=6, test=3)
    rows = (root / "val/labels.csv").read_text().splitlines()
    (root / "val/labels.csv").write_text("\n".join([rows[0], "0.png,bxg,", *rows[2:]]) + "\n")
    with pytest.raises(
        DataError, match=r"val/labels\.csv, line 2: 'x' of 'bxg' is none of the training texts' 3 symbols"
    ):
        open_texts(f"folder:{root}", image_hw=HW)
    with pytest.raises(DataError, match="'x' of 'bxg' is none of the model's 3 symbols"):
        open_texts_of(CONTRACT, f"folder:{root}", seed=0)


def test_a_text_that_is_longer_than_the_model_reads_is_refused(tmp_path: Path) -> None:
    split = open_texts(one_table(tmp_path, *FIVE), image_hw=(20, 40)).train
    check_lengths(split, 2, "folder:x")
    with pytest.raises(DataError, match="a text of 2 symbols, and a reader of --warps 1 reads 1 at most") as raised:
        check_lengths(split, 1, "folder:x")
    assert raised.value.hint == "train with --warps 2"


def test_folders_without_a_table_or_with_two_kinds(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        open_texts(f"folder:{tmp_path / 'none'}", image_hw=HW)
    with pytest.raises(DataError, match="no table of texts"):
        open_texts(f"folder:{tmp_path}", image_hw=HW)
    root = block_texts(tmp_path / "two", train=6, test=3)
    (root / "labels.csv").write_text("path,text\ntrain/0.png,b\n")
    with pytest.raises(DataError, match="texts in "):
        open_texts(f"folder:{root}", image_hw=HW)
    (root / "labels.csv").unlink()
    (root / "train/labels.csv").unlink()
    with pytest.raises(DataError, match=r"no .*train/labels\.csv"):
        open_texts(f"folder:{root}", image_hw=HW)
    assert len(open_texts_of(CONTRACT, f"folder:{root}", seed=0).test) == 3  # a model that is trained needs none


def test_folders_without_validation_or_test(tmp_path: Path) -> None:
    root = block_texts(tmp_path, train=20, test=3)
    (root / "val/labels.csv").unlink()
    data = open_texts(f"folder:{root}", image_hw=HW)
    assert (len(data.train), len(data.val), len(data.test)) == (18, 2, 3)
    (root / "test/labels.csv").unlink()
    untested = open_texts(f"folder:{root}", image_hw=HW)
    assert untested.test_is_val
    assert untested.test.fingerprint == untested.val.fingerprint


def test_few_images_of_one_table_are_for_a_trained_model_alone(tmp_path: Path) -> None:
    spec = one_table(tmp_path, "a.png,bg,", "b.png,r,")
    with pytest.raises(DataError, match="2 texts, too few"):
        open_texts(spec, image_hw=HW)
    assert len(open_texts_of(CONTRACT, spec, seed=None).test) == 2


def test_other_data_sets_are_refused_by_name() -> None:
    with pytest.raises(LstnError, match="'digits' is not a data set for reading"):
        open_texts("digits", image_hw=HW)
    with pytest.raises(DataError, match="the model has 3 classes"):
        open_texts_of(CONTRACT, "numbers-digits", seed=0)
