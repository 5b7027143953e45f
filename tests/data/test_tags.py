"""Images with any number of labels: tables, annotated folders and scenes; what is wrong with one is one line."""

from pathlib import Path

import numpy as np
import pytest
from coloured_squares import COLOURS, coloured_squares
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tagged_blocks import SIDE, tagged_blocks

from lstn.contract import Contract, Fit, Loc, Task
from lstn.data.dataset import open_data
from lstn.data.objects import objects_of
from lstn.data.splits import DataSet
from lstn.data.tags.tag_folder import by_rarest_label
from lstn.data.tags.tag_sets import check_tagged, open_tags, open_tags_of
from lstn.data.tags.tag_table import TaggedFile
from lstn.errors import DataError, LstnError, UsageError
from lstn.imaging.framing import Framing

HW = (SIDE, SIDE)


def table(root: Path, *rows: str, first: str = "path,labels", images: int = 12) -> str:
    root.mkdir(exist_ok=True)
    for number in range(images):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(root / f"{number}.png")
    (root / "labels.csv").write_text("\n".join([first, *rows]) + "\n", encoding="utf-8")
    return f"folder:{root}"


def tags_in(data: DataSet) -> dict[str, set[str]]:
    """The labels of each image, by the name of its file."""
    split = data.split("all")
    return {
        path.name: {data.labels[number] for number in objects_of(split, index).labels}
        for index, (path, _) in enumerate(split.files)  # type: ignore[attr-defined]
    }


def test_each_split_has_its_table(tmp_path: Path) -> None:
    data = open_tags(f"folder:{tagged_blocks(tmp_path, train=20, test=6)}", image_hw=HW)
    assert data.labels == ("blue", "green", "red")
    assert [len(each) for each in (data.train, data.val, data.test)] == [20, 6, 6]
    assert "3 labels; 20 training images, 6 validation images and 6 test images" in data.found
    assert "without a label" in data.found
    rows = dict(row.split(",") for row in (tmp_path / "train/labels.csv").read_text().splitlines()[1:])
    for index, (path, first) in enumerate(data.train.files):  # type: ignore[attr-defined]
        found = objects_of(data.train, index)
        assert ";".join(data.labels[number] for number in found.labels) == rows[path.name]
        assert first == (found.labels[0] if len(found) else 0)
        assert np.isnan(found.thetas).all()
    assert not data.by_seed


COLUMNS = ("0.png,1,0", "1.png,1,1", "2.png,0,0", "3.png,1,0", "4.png,0,1", "5.png,0,1", "6.png,0,0", "7.png,0,0")
LISTED = ("0.png,cat", "1.png,dog| cat", "2.png,", "3.png,cat;", "4.png,dog", "5.png,dog;dog", "6.png,", "7.png,")


def test_one_column_for_each_label_says_the_same(tmp_path: Path) -> None:
    one = open_tags(table(tmp_path / "a", *LISTED), image_hw=HW)
    other = open_tags(table(tmp_path / "b", *COLUMNS, first="path,cat,dog"), image_hw=HW)
    assert one.labels == other.labels == ("cat", "dog")
    wanted = {"0.png": {"cat"}, "1.png": {"cat", "dog"}, "3.png": {"cat"}, "4.png": {"dog"}, "5.png": {"dog"}}
    wanted |= {f"{number}.png": set() for number in (2, 6, 7)}
    assert tags_in(one) == tags_in(other) == wanted


def test_one_table_is_divided_by_the_seed(tmp_path: Path) -> None:
    spec = table(tmp_path, *LISTED)
    one, again = (open_tags(spec, image_hw=HW, seed=3) for _ in range(2))
    names = [{path.name for path, _ in each.files} for each in (one.train, one.val, one.test)]  # type: ignore[attr-defined]
    assert [len(each) for each in names] == [4, 2, 2]
    assert set.union(*names) == {f"{number}.png" for number in range(8)}
    assert one.train.fingerprint == again.train.fingerprint
    assert one.by_seed == {"train", "val", "test"}


@given(st.lists(st.sets(st.sampled_from("abcdef")), min_size=3, max_size=60), st.integers(0, 5))
def test_every_label_is_in_the_training_images(labels: list[set[str]], seed: int) -> None:
    rows = [TaggedFile(Path(f"{number:03}"), frozenset(each), "") for number, each in enumerate(labels)]
    groups = by_rarest_label(rows)
    assert sorted(each.path for group in groups.values() for each in group) == [each.path for each in rows]
    for name, group in groups.items():
        assert all(name in each.labels if name else not each.labels for each in group)
    for name in set().union(*labels):
        assert any(name in each.labels for each in groups.get(name, rows))


def test_a_rare_label_is_not_lost_to_training(tmp_path: Path) -> None:
    common = [f"{number}.png,a" for number in range(9)]
    for seed in range(20):
        data = open_tags(table(tmp_path, *common, "9.png,a;b", "10.png,b"), image_hw=HW, seed=seed)
        shown = {number for index in range(len(data.train)) for number in objects_of(data.train, index).labels.tolist()}
        assert {data.labels[number] for number in shown} == {"a", "b"}


def opened(spec: str) -> None:
    data = open_tags(spec, image_hw=HW)
    _ = data.train, data.val, data.test


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("gone.png,a", "line 10: there is no file"),
        ("../8.png,a", "is not a path below"),
        ("0.png,a", "line 10: a second row for 0.png; the first is in"),
        ("8.png", "1 values; expected 2"),
        (f"8.png,{'x' * 201}", "of 201 characters"),
    ],
)
def test_a_bad_row_is_one_line(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(DataError) as raised:
        opened(table(tmp_path, *LISTED, row))
    assert told in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("first", "rows", "told"),
    [
        ("path,labels", (), "no rows below the first one"),
        ("file,labels", LISTED, "no column path"),
        ("path", ("0.png", "1.png", "2.png"), "line 2: no labels"),
        ("path,cat,dog", (*COLUMNS, "8.png,2,0"), "line 10: column 'cat' is '2'"),
        ("path,text", ("0.png,12",), "line 2: column 'text' is '12'"),
        ("path,cat,cat", COLUMNS, "two columns are cat"),
        ("path,labels", ("0.png,", "1.png,", "2.png,"), "no training image has a label"),
        ("path,labels", ("0.png,a", "1.png,a"), "2 images, too few for train, val and test"),
        ("path,labels", ("0.png,a", "1.png,b", "2.png,c"), "no label that 3 images have, too few"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, first: str, rows: tuple[str, ...], told: str) -> None:
    with pytest.raises(DataError) as raised:
        opened(table(tmp_path, *rows, first=first))
    assert told in raised.value.message


def test_a_label_of_the_test_images_alone_is_refused(tmp_path: Path) -> None:
    root = tagged_blocks(tmp_path, train=8, test=3)
    with (root / "test/labels.csv").open("a") as file:
        file.write("2.png,violet\n".replace("2.png", "new.png"))
    Image.new("RGB", HW).save(root / "test/new.png")
    with pytest.raises(DataError, match=r"line 5: 'violet' is none of the training images' 3 labels"):
        opened(f"folder:{root}")


def test_a_model_that_was_trained_knows_its_labels(tmp_path: Path) -> None:
    contract = Contract(Loc.NONE, "cnn", HW, ("blue", "cat", "green", "red"), task=Task.TAG)
    root = tagged_blocks(tmp_path / "set", train=8, test=3)
    data = open_tags_of(contract, f"folder:{root}", seed=None)
    assert data.labels == contract.labels
    strange = Contract(Loc.NONE, "cnn", HW, ("blue", "red"), task=Task.TAG)
    with pytest.raises(DataError, match="'green' is none of the model's 2 labels"):
        open_tags_of(strange, f"folder:{root}", seed=None)
    (root / "train/labels.csv").unlink()
    (root / "val/labels.csv").unlink()
    assert len(open_tags_of(contract, f"folder:{root}", seed=None).test) == 3
    few = open_tags_of(contract, table(tmp_path / "few", "0.png,cat", "1.png,red"), seed=None)
    assert len(few.test) == 2


def test_annotated_images_have_the_classes_of_their_objects(tmp_path: Path) -> None:
    root = coloured_squares(tmp_path, train=12, test=6)
    data = open_tags(f"folder:{root}", image_hw=(64, 64))
    assert data.labels == tuple(COLOURS)
    for index in range(len(data.val)):
        pixels, _ = data.val[index]
        shown = {number for number in (0, 1) if (pixels == list(COLOURS.values())[number]).all(-1).any()}
        assert set(objects_of(data.val, index).labels.tolist()) >= shown
    with pytest.raises(UsageError, match="images with boxes are stretched, and this model's fit is letterbox"):
        open_tags(f"folder:{root}", image_hw=HW, framing=Framing(Fit.LETTERBOX, (0, 0, 0)))


@pytest.mark.parametrize("spec", ["scenes-digits", "numbers-digits"])
def test_drawn_images_show_several_digits(spec: str) -> None:
    train = open_tags(spec, image_hw=(64, 64)).train
    counts = {len(set(objects_of(train, index).labels.tolist())) for index in range(60)}
    assert counts >= {1, 2, 3}


@pytest.mark.parametrize("spec", ["digits", "", "captions-digits", "folder:/nowhere"])
def test_what_is_no_set_for_tagging_is_one_line(spec: str) -> None:
    with pytest.raises(LstnError) as raised:
        open_tags(spec, image_hw=HW)
    assert raised.value.hint


def test_a_folder_of_another_kind_says_what_it_is_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folders") as raised:
        open_data(table(tmp_path / "one", *LISTED), image_hw=HW)
    assert raised.value.hint == "its labels.csv is for --task tag, or --task read"
    with pytest.raises(DataError, match="no class folders in this split") as raised:
        open_data(f"folder:{tagged_blocks(tmp_path / 'three', train=8, test=3)}", image_hw=HW)
    assert "--task tag" in raised.value.hint
    (tmp_path / "classes/cat").mkdir(parents=True)
    with pytest.raises(DataError, match="no annotations of objects") as raised:
        open_tags(f"folder:{tmp_path / 'classes'}", image_hw=HW)
    assert "PATH/labels.csv of path,labels" in raised.value.hint
    assert "--task classify" in raised.value.hint


def test_validation_images_without_a_label_choose_nothing(tmp_path: Path) -> None:
    root = tagged_blocks(tmp_path, train=8, test=3)
    (root / "val/labels.csv").write_text("path,labels\n0.png,\n1.png,\n")
    with pytest.raises(DataError, match="no validation image has a label"):
        check_tagged(open_tags(f"folder:{root}", image_hw=HW).val, "folder:x")


def test_a_folder_and_its_splits_have_no_tables_together(tmp_path: Path) -> None:
    root = tagged_blocks(tmp_path, train=8, test=3)
    table(root, *LISTED)
    with pytest.raises(DataError, match="labels in "):
        opened(f"folder:{root}")


def test_without_val_a_tenth_of_training_is_held_back(tmp_path: Path) -> None:
    root = tagged_blocks(tmp_path, train=40, test=3)
    (root / "val/labels.csv").unlink()
    data = open_tags(f"folder:{root}", image_hw=HW, seed=1)
    assert len(data.train) + len(data.val) == 40
    assert 3 <= len(data.val) <= 8
    assert data.by_seed == {"train", "val"}


def test_training_images_of_which_no_two_share_a_label_hold_none_back(tmp_path: Path) -> None:
    table(tmp_path / "train", "0.png,a", "1.png,b")
    with pytest.raises(DataError, match="no label that two training images have, too few to hold one back"):
        opened(f"folder:{tmp_path}")
