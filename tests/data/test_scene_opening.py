"""Opening of sets of scenes: folders, published signs, and what is refused."""

from pathlib import Path

import pytest
from published_sets import accept, write_gtsrb
from small_scenes import objects, photos

from lstn.data.dataset import located, open_data, require_test, rooted, set_and_root, usual
from lstn.data.scenes.open_scenes import SCENE_SIDE
from lstn.errors import DataError, LstnError, UsageError


def test_no_photograph_is_in_two_splits(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos" / "deep", 20)
    for number in range(20):  # the same under another name
        (folder / f"copy-{number}.png").write_bytes((folder / f"{number:03d}.png").read_bytes())
    data = open_data(f"scenes:{objects(tmp_path / 'objects')},{tmp_path / 'photos'}", image_hw=(32, 32))
    stocks = [split.backgrounds for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert [len(stock) for stock in stocks] == [16, 2, 2]
    shown = [stock.picture(number, 40).tobytes() for stock in stocks for number in range(len(stock))]
    assert len(set(shown)) == 20
    assert "20 photographs" in data.parts
    assert "20 photographs" in data.found
    assert "2 classes" in data.found


def test_scenes_of_a_folder_have_its_classes_and_its_division(tmp_path: Path) -> None:
    spec = f"scenes:{objects(tmp_path / 'objects')},{photos(tmp_path / 'photos', 3)}"
    data, other = (open_data(spec, image_hw=(40, 56), seed=seed) for seed in (0, 1))
    assert data.labels == ("bus", "car")
    assert [len(split) for split in (data.train, data.val, data.test)] == [16, 2, 2]
    assert data.by_seed == {"train", "val", "test"}
    assert data.val.fingerprint != other.val.fingerprint
    assert sorted(data.train[index][1] for index in range(16)) == [0] * 8 + [1] * 8
    photos(tmp_path / "photos", 3, seed=9)
    assert open_data(spec, image_hw=(40, 56)).train.fingerprint != data.train.fingerprint
    assert open_data(spec, image_hw=(40, 56), labels=("bus", "car", "ship")).labels == ("bus", "car", "ship")


def test_signs_are_read_from_the_published_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gtsrb(tmp_path)
    accept(monkeypatch, "gtsrb", tmp_path)
    data = open_data(f"scenes-signs:{tmp_path}", image_hw=(48, 48))
    assert data.labels == ("00", "01", "02")
    assert [len(split) for split in (data.train, data.val, data.test)] == [48, 12, 6]
    assert data.train[0][0].shape == (48, 48, 3)
    assert data.by_seed == frozenset()
    lines = (tmp_path / "images/gtsrb/boxes.csv").read_text().splitlines()
    assert lines[0] == "path,x1,y1,x2,y2"
    assert len(lines) == 1 + 60 + 6
    assert all((tmp_path / "images/gtsrb" / line.partition(",")[0]).is_file() for line in lines[1:])
    assert lines[1].endswith(".ppm,1,1,4,4")
    assert lines[-1].endswith(".ppm,1,1,5,5")


def test_a_spec_means_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("scenes:a,b") == f"scenes:{tmp_path}/a,{tmp_path}/b"
    assert located("scenes-digits") == "scenes-digits"
    assert rooted("scenes-signs", Path("r")) == f"scenes-signs:{tmp_path}/r"
    assert set_and_root("scenes-signs:r") == ("scenes-signs", Path("r"))
    assert {usual(spec).image_size for spec in ("scenes-digits", "scenes-signs:r", "scenes:a,b")} == {SCENE_SIDE}
    (tmp_path / "with, comma").mkdir()
    monkeypatch.chdir(tmp_path / "with, comma")
    with pytest.raises(UsageError, match="a comma"):
        located("scenes:a,b")


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("scenes:", UsageError, "0 folder"),
        ("scenes:objects", UsageError, "1 folder"),
        ("scenes:objects,", UsageError, "1 folder"),
        ("scenes:a,b,photos", UsageError, "3 folder"),
        ("scenes:objects,nowhere", UsageError, "nowhere: no such folder of backgrounds"),
        ("scenes:nowhere,photos", UsageError, "nowhere: no such folder of objects"),
        ("scenes:objects,objects", UsageError, "are the same folder"),
        ("scenes:objects,link", UsageError, "are the same folder"),
        ("scenes:objects,objects/bus", UsageError, "lie one in the other"),
        ("scenes:.,photos", UsageError, "lie one in the other"),
        ("scenes:objects,empty", DataError, "empty: 0 different photographs"),
        ("scenes:objects,two", DataError, "two: 2 different photographs"),
        ("scenes:objects,alike", DataError, "alike: 1 different photograph,"),
        ("scenes:objects,broken", DataError, "broken: 1 of 4 backgrounds is broken"),
        ("scenes:empty,photos", DataError, "empty: no class folders"),
        ("scenes", UsageError, "unknown data set"),
        ("scenes-digits:x", UsageError, "unknown data set"),
        ("scenes-signs:nowhere", DataError, "3 of 3 files are missing"),
    ],
)
def test_what_cannot_be_scenes_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, error: type[LstnError], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    objects(tmp_path / "objects", 3)
    (tmp_path / "link").symlink_to("objects")
    (tmp_path / "empty").mkdir()
    photos(tmp_path / "photos", 3)
    photos(tmp_path / "two", 2)
    for name in ("a", "b", "c"):
        photos(tmp_path / "alike" / name, 1)
    (photos(tmp_path / "broken", 3) / "x.jpg").write_bytes(b"no image")
    with pytest.raises(error, match=says) as caught:
        open_data(spec, image_hw=(32, 32))
    assert caught.value.hint
    assert "\n" not in f"{caught.value}{caught.value.hint}"


def test_scenes_are_compared_only_on_objects_of_a_test_split(tmp_path: Path) -> None:
    objects(tmp_path / "objects/train", 3)
    objects(tmp_path / "objects/val", 2)
    with pytest.raises(UsageError, match="validation images choose the epoch"):
        require_test(f"scenes:{tmp_path / 'objects'},{tmp_path}")


@pytest.mark.parametrize("name", ["car/000.png", "copy.png"])
def test_objects_are_no_backgrounds_under_whatever_name(tmp_path: Path, name: str) -> None:
    train = objects(tmp_path / "objects" / "train", 3) / "car" / "000.png"
    objects(tmp_path / "objects" / "val", 2)
    copy = photos(tmp_path / "photos", 3, seed=7) / name
    copy.parent.mkdir(exist_ok=True)
    data = open_data(f"scenes:{tmp_path / 'objects'},{tmp_path / 'photos'}", image_hw=(32, 32))
    assert len(data.train) == 6
    copy.write_bytes(train.read_bytes())
    data = open_data(f"scenes:{tmp_path / 'objects'},{tmp_path / 'photos'}", image_hw=(32, 32))
    with pytest.raises(DataError) as caught:
        _ = data.train
    assert f"1 object is among the backgrounds too: {train} and {copy} are one picture" in caught.value.message
    assert "must not show an object" in caught.value.hint


def test_scenes_are_not_one_split(tmp_path: Path) -> None:
    data = open_data("scenes-digits", image_hw=(32, 32))
    with pytest.raises(UsageError, match="--split all is for folders of images alone") as caught:
        data.split("all")
    assert caught.value.hint == "use --split train, val or test"
