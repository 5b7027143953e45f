"""Folders of annotated images: COCO's, YOLO's and Pascal VOC's say the same, and what is broken is named."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from annotated import HEIGHT, NAMES, SHOWN, WIDTH, coco_json, image, official_coco, roboflow, voc, voc_xml, yolo
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.contract import Contract, Loc
from lstn.data.annotations import annotated
from lstn.data.annotations import coco_json as coco_reader
from lstn.data.annotations import voc_xml as voc_reader
from lstn.data.annotations.yaml_names import names_of_yaml
from lstn.data.object_sets import open_objects, open_objects_of
from lstn.data.objects import Objects, objects_of
from lstn.data.poses import pose_from_box, pose_from_corners
from lstn.data.splits import DataSet, Split
from lstn.errors import DataError, LstnError, UsageError
from lstn.warps.quadrilaterals import upright_box
from lstn.warps.warp import landmarks_px

FORMATS = [roboflow, official_coco, yolo, voc]
HW = (32, 48)


def opened(root: Path, labels: tuple[str, ...] | None = None, seed: int = 0) -> DataSet:
    return open_objects(f"folder:{root}", image_hw=HW, labels=labels, seed=seed)


def by_name(split: Split) -> dict[str, Objects]:
    names = [path.stem.rpartition("_")[2] for path, _ in split.files]  # type: ignore[attr-defined]
    return {name: objects_of(split, index) for index, name in enumerate(names)}


@pytest.mark.parametrize("write", FORMATS)
def test_all_formats_say_the_same_of_the_same_pictures(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    data = opened(write(tmp_path / "set"))
    assert data.labels == NAMES
    for split in (data.train, data.val, data.test):
        assert len(split) == len(SHOWN)
        for name, known in by_name(split).items():
            assert known.labels.tolist() == [label for label, _ in SHOWN[name]]
            assert (known.labels.dtype, known.thetas.dtype) == (np.int64, np.float32)
            assert known.thetas.shape == (len(known), 2, 3)
            for theta, (_, box) in zip(known.thetas, SHOWN[name], strict=True):
                assert upright_box(theta, (HEIGHT, WIDTH)) == pytest.approx(box, abs=1e-3)
                (left, top, right, bottom) = box
                pose = pose_from_box(
                    ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top), 0, (HEIGHT, WIDTH)
                )
                assert theta == pytest.approx(pose.theta, abs=1e-5)
        pixels, label = split[0]
        assert (pixels.shape, pixels.dtype, label) == ((*HW, 3), np.uint8, 0)
        assert split.redrawn(3) is split
    assert "2 classes" in data.found
    assert "1 image without" in data.found.replace("3 images without", "1 image without").replace("2 images", "1 image")
    assert "objects; the rarest class" in data.found


def test_what_a_split_is_like_is_in_its_fingerprint(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    one, again = opened(root).train.fingerprint, opened(root).train.fingerprint
    (root / "labels/train/d.txt").write_text("0 0.5 0.5 0.2 0.21\n")
    moved = opened(root).train.fingerprint
    image(root / "images/train/e.jpg")
    assert len({one, moved, opened(root).train.fingerprint}) == 3
    assert one == again


@pytest.mark.parametrize("write", FORMATS)
def test_validation_images_are_held_back_and_tested_where_there_are_no_others(
    tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "set", ("train",) if write is not official_coco else ("train2017",))
    data, again, other = opened(root), opened(root), opened(root, seed=1)
    assert (len(data.train), len(data.val), len(data.test)) == (3, 1, 1)
    assert data.by_seed == {"train", "val", "test"}
    assert data.test_is_val
    assert "no test images" in " ".join(capsys.readouterr().err.split())
    assert set(by_name(data.train)) | set(by_name(data.val)) == set(SHOWN)
    assert data.val.fingerprint == again.val.fingerprint
    assert len({opened(root, seed=seed).val.fingerprint for seed in range(8)}) > 1
    assert len(data.split("all")) == 4
    assert other.parts.endswith("seed 1")


@pytest.mark.parametrize("write", [yolo, roboflow])
def test_a_box_that_is_there_twice_counts_once(
    tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "set")
    once = by_name(opened(root).train)["a"]
    assert "second time" not in capsys.readouterr().err
    if write is yolo:
        path = root / "labels/train/a.txt"
        rows = path.read_text().splitlines()
        path.write_text("\n".join([*rows, rows[0], rows[0]]) + "\n")
    else:
        edit_json(
            root, lambda file: file["annotations"].extend([file["annotations"][0] | {"id": 99 + n} for n in (0, 1)])
        )
    data = opened(root)
    again = by_name(data.train)["a"]
    np.testing.assert_array_equal(again.labels, once.labels)
    np.testing.assert_array_equal(again.thetas, once.thetas)
    assert "2 boxes are there a second time, and counted once: " in " ".join(capsys.readouterr().err.split())
    objects = sum(len(each) for split in (data.train, data.val, data.test) for each in split.known)
    assert f"with {objects} objects" in data.found  # the line counts them once too


def test_a_turned_box_is_read_by_its_corners(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    pose = pose_from_box((40, 20), (30, 10), 25, (HEIGHT, WIDTH))
    corners = landmarks_px(pose.theta[None], (HEIGHT, WIDTH))[0] / (WIDTH, HEIGHT)
    rows = [
        corners,
        corners[[0, 3, 2, 1]],
        np.roll(corners, -1, axis=0),
    ]  # as drawn, the other way round, from the next
    (root / "labels/train/a.txt").write_text(
        "\n".join("1 " + " ".join(f"{value:.6f}" for value in row.ravel()) for row in rows)
    )
    known = by_name(opened(root).train)["a"]
    assert known.labels.tolist() == [1, 1, 1]
    assert known.thetas[0] == pytest.approx(pose.theta, abs=1e-4)
    for theta in known.thetas:
        found = landmarks_px(theta[None], (HEIGHT, WIDTH))[0]
        assert sorted(map(tuple, found.round(2).tolist())) == sorted(
            map(tuple, (corners * (WIDTH, HEIGHT)).round(2).tolist())
        )
        assert np.linalg.det(theta[:, :2]) > 0
    assert known.thetas[2] != pytest.approx(pose.theta, abs=0.1)


@settings(deadline=None, max_examples=50)
@given(st.floats(10, 70), st.floats(10, 30), st.floats(2, 60), st.floats(2, 60), st.floats(-180, 180))
def test_corners_and_angle_say_the_same_pose(x: float, y: float, wide: float, high: float, degrees: float) -> None:
    pose = pose_from_box((x, y), (wide, high), degrees, (HEIGHT, WIDTH))
    corners = landmarks_px(pose.theta[None], (HEIGHT, WIDTH))[0]
    assert pose_from_corners(corners, (HEIGHT, WIDTH)).theta == pytest.approx(pose.theta, abs=1e-5)


def test_a_picture_is_annotated_as_it_is_shown(tmp_path: Path) -> None:
    root = roboflow(tmp_path)
    image(root / "train" / "a.jpg", orientation=6)  # now shown as 40 x 80
    with pytest.raises(DataError, match=r"a.jpg are for a picture of 80 x 40 pixels, and the file has 40 x 80"):
        opened(root).train  # noqa: B018


def edit_json(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = coco_json()
    change(file)
    (root / "train/_annotations.coco.json").write_text(json.dumps(file))


def rows(count: int, bad: str) -> str:
    return "\n".join([bad, *(f"0 0.5 0.5 0.5 {0.4 + n / 1000}" for n in range(count - 1))])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda f: f["annotations"][0].update(bbox=[10, 10, 0, 20]),
            r"annotations\[0\]: a box of 0 x 20 pixels has no",
        ),
        (lambda f: f["annotations"][0].update(bbox=[10, 10, -9, -9]), "has no area"),
        (
            lambda f: f["annotations"][1].update(bbox=[70, 10, 20, 20]),
            r"the box \(70, 10\) to \(90, 30\) is not inside",
        ),
        (
            lambda f: f["annotations"][0].update(category_id=5),
            r"annotations\[0\] is of category 5, which the file does",
        ),
        (lambda f: f["annotations"][0].update(image_id=5), r"annotations\[0\] is of image 5, which the file does not"),
        (lambda f: f["annotations"][0].update(bbox=[1, 2, 3]), "bbox: expected list of length"),
        (lambda f: f["annotations"][0].update(bbox=[1, 2, 3, "4"]), "bbox"),
        (lambda f: f["annotations"][0].pop("bbox"), "bbox' is missing"),
        (lambda f: f["images"][0].update(file_name="../../secret.jpg"), "is not a path below"),
        (lambda f: f["images"][0].update(file_name="/etc/passwd"), "is not a path below"),
        (lambda f: f["images"][0].update(file_name="b.jpg"), "image 'b.jpg' stands twice"),
        (lambda f: f["images"][0].update(id=11), "image 11 stands twice"),
        (lambda f: f["categories"][0].update(id=7), "category 7 stands twice"),
        (lambda f: f["categories"][0].update(name="bus"), "'bus' stands twice"),
        (lambda f: f["categories"][1].update(name=" "), "a class has the name ' '"),
        (lambda f: f.pop("categories"), "not COCO's JSON .*'categories' is missing"),
        (lambda f: f["annotations"].clear(), "no training image shows an object"),
        (lambda f: f["images"][0].update(width=0), "width: expected int >= 1"),
        (lambda f: f["images"][0].update(file_name="lost.jpg"), "1 of 4 train images is broken"),
    ],
)
def test_what_is_broken_in_json_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    root = roboflow(tmp_path, ("train", "valid"))
    edit_json(root, change)
    with pytest.raises(DataError, match=says) as raised:
        opened(root).train  # noqa: B018
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("text", ["", "[]", "{", "nul", '{"images": NaN}', "[" * 100_000, "\ud800", "\x00"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    root = roboflow(tmp_path, ("train", "valid"))
    (root / "train/_annotations.coco.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="not COCO's JSON"):
        opened(root)


def test_crowds_are_left_out_and_classes_that_nobody_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = roboflow(tmp_path, ("train", "valid"))
    edit_json(root, lambda file: file["annotations"][0].update(iscrowd=1, bbox=[0, 0, 0, 0]))
    data = opened(root)
    assert "1 crowd box is left out" in data.found
    assert by_name(data.train)["a"].labels.tolist() == [1]
    assert "no training image shows 'things': 1 class is left out" in " ".join(capsys.readouterr().err.split())


def test_few_broken_boxes_are_left_out_and_many_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo(tmp_path)
    (root / "labels/train/a.txt").write_text(rows(30, "0 0.5 0.5 0 0.5"))
    assert len(by_name(opened(root).train)["a"]) == 29
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 32 boxes is broken and left out" in said
    assert "a.txt, line 1: a box of" in said
    (root / "labels/train/a.txt").write_text(rows(10, "0 0.5 0.5 0 0.5"))
    with pytest.raises(DataError, match="1 of 12 boxes is broken, more than 5%"):
        opened(root).train  # noqa: B018


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("0 0.5 0.5 0.5", r"a.txt, line 2: 4 values; expected 5 or 9"),
        ("0 0.5 0.5 0.5 0.5 0.9", "6 values"),
        ("2 0.5 0.5 0.5 0.5", "class 2 is unknown; there are 2 classes"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 is unknown"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 is unknown"),
        ("bus 0.5 0.5 0.5 0.5", "'bus' is not a number"),
        ("0 nan 0.5 0.5 0.5", "'nan' is not a number"),
        ("0 40 20 10 10", "40 is not a share of the picture"),
        ("0 0.95 0.5 0.5 0.5", "is not inside the picture"),
        ("0 0.5 0.5 -0.5 0.5", "-0.5 is not a share"),
        ("0 0.1 0.1 0.9 0.1 0.1 0.9 0.9 0.9", "line 2: .*(no area|turned box)"),  # crossed
        ("0 0.1 0.1 0.9 0.1 0.5 0.2 0.1 0.9", "not those of a turned box"),
    ],
)
def test_what_is_broken_in_rows_is_named(tmp_path: Path, row: str, says: str) -> None:
    root = yolo(tmp_path)
    (root / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{row}\n")
    with pytest.raises(DataError, match=says):
        opened(root).train  # noqa: B018


def test_empty_and_missing_files_of_rows_are_images_without_objects(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "labels/train/a.txt").write_text("\n \n")
    (root / "labels/train/b.txt").unlink()
    data = opened(root, ("bus", "car"))
    assert [len(each) for each in by_name(data.train).values()] == [0, 0, 0, 1]
    assert "1 image has no file in labels/" in data.found
    assert "5 images without an object" in data.found
    assert data.train[1][1] == 0


def test_other_layouts_of_rows(tmp_path: Path) -> None:
    """Roboflow's train/images and valid/images, and images without splits; names in classes.txt."""
    root = yolo(tmp_path / "one")
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("bus\r\ncar\r\n")
    assert opened(root).labels == NAMES
    for split, name in (("train", "train"), ("val", "valid")):
        for kind in ("images", "labels"):
            (tmp_path / "two" / name).mkdir(parents=True, exist_ok=True)
            (root / kind / split).rename(tmp_path / "two" / name / kind)
    (root / "classes.txt").rename(tmp_path / "two" / "classes.txt")
    assert [len(split) for split in (opened(tmp_path / "two").train, opened(tmp_path / "two").val)] == [4, 4]
    flat = tmp_path / "flat"
    flat.mkdir()
    for kind in ("images", "labels"):
        (tmp_path / "two/train" / kind).rename(flat / kind)
    (flat / "labels" / "classes.txt").write_text("bus\ncar\n")
    assert [len(split) for split in (opened(flat).train, opened(flat).val)] == [3, 1]
    (flat / "labels" / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"no data\.yaml and no classes\.txt"):
        opened(flat)


FORMS = [
    "names: [bus, car]",
    "names: [bus,car]",
    "nc: 2\nnames: ['bus', \"car\"]  # two\n",
    "names: [\n  bus,  # one\n  car,\n]\nroboflow: {a: 1}\n",
    "names: {0: bus, 1: car}",
    "names:\n- bus\n- car\nnc: 2",
    "names:\n  - bus\n  - 'car'\n\n# end\nnc: 2",
    'train: x\nnames:\n  0: bus\n  1: "car"  # second\npath: y',
    "names:\n  1: car\n  0: bus\n",
]


@pytest.mark.parametrize("text", FORMS)
def test_names_are_those_that_a_yaml_library_reads(text: str) -> None:
    found = yaml.safe_load(text)["names"]
    expected = [found[number] for number in range(len(found))] if isinstance(found, dict) else found
    assert names_of_yaml(text) == expected == ["bus", "car"]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), min_size=1), min_size=1, max_size=4
    ),
    st.sampled_from([None, True, False]),
    st.booleans(),
    st.sampled_from(["'", '"', None]),
)
def test_names_that_a_yaml_library_writes_are_read(
    names: list[str], flow: bool | None, numbered: bool, style: str | None
) -> None:
    value = dict(enumerate(names)) if numbered else names
    text = yaml.safe_dump({"names": value, "nc": 1}, default_flow_style=flow, width=10_000, default_style=style)
    with suppress(ValueError):  # a rare form is refused, never misread
        assert names_of_yaml(text) == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nc: 2", "no field names:"),
        ("names: bus", "is not a list"),
        ("names: &x [bus]", "is not a list"),
        ("names: [bus", "a comma is missing before|can't be read"),
        ("names: [bus, [car]]", "can't be read"),
        ("names: {0: bus, 2: car}", "not numbered from 0 to 1"),
        ("names: {0: bus, 0: car}", "not numbered"),
        ("names:\nnc: 2", "is empty"),
        ("names: []", "is empty"),
        ("names:\n  bus: 0\n", "can't read the line"),
        ("names:\n  - - bus\n", "put quotes around it"),
        ("names:\n  - bus: 3\n", "put quotes around it"),
        ("names: [bus, bus]", "two classes have the name 'bus'"),
    ],
)
def test_names_in_other_forms_are_refused(tmp_path: Path, text: str, says: str) -> None:
    root = yolo(tmp_path)
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=says):
        opened(root)


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("<annotation><object><name>bus</name></object></annotation>", "object 1: bndbox/xmin is not there"),
        (voc_xml("a", [(0, (1, 1, 9, 9))]).replace("<xmax>9", "<xmax>x"), "bndbox/xmax is 'x', not a number"),
        (voc_xml("a", [(0, (1, 1, 9, 9))]).replace("<xmax>9", "<xmax>inf"), "bndbox/xmax is 'inf'"),
        (voc_xml("a", [(0, (9, 9, 9, 20))]), "object 1: a box of 0 x 11 pixels has no area"),
        (voc_xml("a", [(0, (9, 9, 100, 20))]), "is not inside the picture"),
        (voc_xml("a", [(0, (1, 1, 9, 9))]).replace(">bus<", "> <"), "a class has the name"),
        (voc_xml("a", []).replace(">80<", ">81<"), "are for a picture of 81 x 40 pixels"),
        ("<html></html>", "outermost element is 'html'"),
        ("", "not an XML file"),
        ("<annotation>", "not an XML file"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "not an XML file"),
        ("<annotation>\x00</annotation>", "not an XML file"),
    ],
)
def test_what_is_broken_in_xml_is_named(tmp_path: Path, xml: str, says: str) -> None:
    root = voc(tmp_path)
    (root / "Annotations/train_a.xml").write_text(xml)
    with pytest.raises(DataError, match=says):
        opened(root).train  # noqa: B018


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_never_expanded(tmp_path: Path, encoding: str) -> None:
    root = voc(tmp_path)
    for bomb in (
        '<!DOCTYPE a [<!ENTITY a "bus"><!ENTITY b "&a;&a;">]><annotation><name>&b;</name></annotation>',
        '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><name>&a;</name></annotation>',
        '<!DOCTYPE a SYSTEM "http://localhost/x.dtd"><annotation/>',
    ):
        (root / "Annotations/train_a.xml").write_bytes(bomb.encode(encoding))
        with pytest.raises(DataError, match="it has a document type"):
            opened(root)


def test_files_are_no_larger_than_they_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = voc(tmp_path / "voc")
    monkeypatch.setattr(voc_reader, "_MOST_BYTES", 100)
    with pytest.raises(DataError, match="larger than 0 MiB"):
        opened(root)
    monkeypatch.setattr(coco_reader, "_MOST_BYTES", 100)
    with pytest.raises(DataError, match="larger than"):
        opened(roboflow(tmp_path / "coco"))
    (root / "Annotations/train_a.xml").write_text("<a>" * 1_000_000)
    monkeypatch.setattr(voc_reader, "_MOST_BYTES", 4 << 20)
    with pytest.raises(DataError, match="not an XML file"):
        opened(root)


def test_lists_of_splits(tmp_path: Path) -> None:
    root = voc(tmp_path)
    lists = root / "ImageSets/Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    assert len(opened(root).train) == 4
    (lists / "trainval.txt").write_text("train_a\nlost\n")
    with pytest.raises(DataError, match="there is no image 'lost' in JPEGImages/"):
        opened(root)
    (lists / "trainval.txt").write_text("train_a\ntrain_a\n")
    with pytest.raises(DataError, match="'train_a' stands twice"):
        opened(root)
    (lists / "trainval.txt").write_text("../../a\n")
    with pytest.raises(DataError, match="there is no image"):
        opened(root)
    for path in lists.iterdir():
        path.unlink()
    assert len(opened(root).split("all")) == 12


def test_classes_are_those_of_training_or_of_the_model(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "data.yaml").write_text("names: [bus, car, ship]")
    assert opened(root).labels == NAMES
    model = opened(root, ("car", "ship", "bus"))
    assert model.labels == ("car", "ship", "bus")
    assert by_name(model.test)["a"].labels.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"class 'car' of (train|val|test) is not one of the model's 1 class"):
        opened(root, ("bus",))
    (root / "labels/val/a.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match="class 'ship' of val is not in the training images"):
        opened(root)


def test_a_model_may_be_tested_on_a_folder_without_training_images(tmp_path: Path) -> None:
    root = yolo(tmp_path, ("test",))
    assert len(opened(root, NAMES).test) == 4
    with pytest.raises(DataError, match="annotations for test but none for train"):
        opened(root)
    with pytest.raises(DataError, match="no val images"):
        opened(root, NAMES).val  # noqa: B018


def test_what_is_not_an_annotated_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        opened(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no annotations of objects"):
        opened(tmp_path)
    root = official_coco(tmp_path / "coco")
    (root / "train2017").rename(root / "elsewhere")
    with pytest.raises(DataError, match="there is no folder train2017/"):
        opened(root)
    twice = roboflow(tmp_path / "two", ("val", "valid"))
    with pytest.raises(DataError, match="both are val"):
        opened(twice)
    (tmp_path / "pipe").mkdir()
    assert annotated.annotation_bytes(root / "annotations/instances_val2017.json", most=1 << 20)
    with pytest.raises(LstnError, match="not a regular file"):
        annotated.annotation_bytes(tmp_path / "pipe", most=1)


def test_a_model_of_an_unknown_seed_is_not_tested_on_what_it_was_trained_on(tmp_path: Path) -> None:
    root = yolo(tmp_path, ("train",))
    contract = Contract(loc=Loc.LSTN, backbone="small-cnn", image_hw=HW, labels=NAMES)
    data = open_objects_of(contract, f"folder:{root}", seed=None)
    with pytest.raises(UsageError, match="is split by a seed"):
        data.test  # noqa: B018
    assert len(open_objects_of(contract, f"folder:{root}", seed=3).test) == 1
    with pytest.raises(DataError, match="the model has 3 classes"):
        open_objects_of(replace(contract, labels=("a", *NAMES)), "scenes-digits", seed=0)
