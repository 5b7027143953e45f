import pickle
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from published_sets import accept, write_gtsrb

from lstn.data.dataset import located, open_data, require_test, rooted, set_and_root, usual
from lstn.data.digits import digit_rasters
from lstn.data.folders import FolderSplit
from lstn.data.poses import Pose, pose_from_box
from lstn.data.scenes.backgrounds import DRAWN, DrawnBackgrounds, with_grain
from lstn.data.scenes.cut_objects import CutObjects
from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.open_scenes import SCENE_SIDE
from lstn.data.scenes.painting import Stamp, _contrasting, _luma, paint, piece_of
from lstn.data.scenes.picture_cache import PictureCache
from lstn.data.scenes.placing import SIZE, TURN_DEG
from lstn.data.scenes.scene_split import SceneSplit
from lstn.data.scenes.sign_outlines import sign_mask
from lstn.data.splits import SplitName
from lstn.errors import DataError, LstnError, UsageError
from lstn.images import Pixels
from lstn.warp import corners_px, warp

SIDES = st.integers(8, 120)


class Gray:
    """A background that has nothing in it."""

    turns = (None,)
    fingerprint = "gray"

    def __len__(self) -> int:
        return 1

    def picture(self, number: int, side: int) -> Image.Image:
        return Image.new("RGB", (side, side), (128, 128, 128))


def digits(split: SplitName, *, image_hw: tuple[int, int], seed: int = 0) -> SceneSplit:
    return SceneSplit(split, DigitObjects(split), Gray(), image_hw=image_hw, seed=seed)


def photos(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def objects(root: Path, count: int = 10, size: tuple[int, int] = (40, 30)) -> Path:
    for number, label in enumerate(("bus", "car")):
        photos(root / label, count, seed=100 + number, size=size)
    return root


def likeness(pixels: Pixels, pose: Pose, raster: npt.NDArray[np.uint8]) -> float:
    """Correlation of a raster with what lstn's own sampler sees at a pose, dark on bright or bright on dark."""
    crop = Image.fromarray(warp(pixels, pose.theta)).convert("L").resize(raster.shape, Image.Resampling.BOX)
    return float(abs(np.corrcoef(np.asarray(crop, float).ravel(), raster.ravel())[0, 1]))


def beside(pose: Pose) -> list[Pose]:
    """Poses a twentieth of the side away in each direction, turned by 20 degrees both ways, larger and smaller."""
    turn = np.radians(20)
    moves = [(x, y, 0.0, 1.0) for x, y in ((-0.1, 0), (0.1, 0), (0, -0.1), (0, 0.1))]
    moves += [(0, 0, -turn, 1.0), (0, 0, turn, 1.0), (0, 0, 0.0, 1.25), (0, 0, 0.0, 0.8)]
    theta = np.vstack([pose.theta, [0, 0, 1]])
    placed = []
    for x, y, angle, scale in moves:
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        placed.append(Pose((theta @ [[cos, -sin, x], [sin, cos, y], [0, 0, 1]])[:2].astype(np.float32)))
    return placed


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.integers(0, 2**32), st.integers(160, 400), st.integers(160, 400))
def test_the_pose_shows_the_object_upright_and_filling(number: int, seed: int, height: int, width: int) -> None:
    split = digits("train", image_hw=(height, width), seed=seed)
    pose, raster = split.pose(number), digit_rasters("train")[0][number]
    canvas = Image.new("RGB", (width, height), (128, 128, 128))
    paint(canvas, replace(DigitObjects("train").stamp(number), halo=None), pose, np.random.default_rng(seed))
    pixels = np.asarray(canvas)
    assert likeness(pixels, pose, raster) > max(likeness(pixels, other, raster) for other in beside(pose))


def test_the_pose_is_that_of_the_scene_with_all_that_is_in_it() -> None:
    split = digits("train", image_hw=(160, 200))
    rasters = digit_rasters("train")[0]
    assert np.median([likeness(split[n][0], split.pose(n), rasters[n]) for n in range(30)]) > 0.9


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), SIDES, SIDES, st.integers(4, 40), st.integers(4, 40))
def test_an_object_is_painted_where_its_pose_says(seed: int, height: int, width: int, wide: int, high: int) -> None:
    """The middle of what is painted, its area and its spread along both axes, against the pose's own."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.2, 0.6, 2) * min(height, width)
    centre = float(rng.uniform(0.4, 0.6) * width), float(rng.uniform(0.4, 0.6) * height)
    pose = pose_from_box(centre, (float(size[0]), float(size[1])), rng.uniform(-45, 45), (height, width))
    opaque = Image.merge("RGBX", (Image.new("L", (wide, high), 255),) * 4)
    canvas = Image.new("RGB", (width, height))
    paint(canvas, Stamp(opaque), pose, rng)
    weight = np.asarray(canvas)[..., 0] / 255
    y, x = np.mgrid[:height, :width] + 0.5
    assert (weight * x).sum() / weight.sum() == pytest.approx(centre[0], abs=0.5)
    assert (weight * y).sum() / weight.sum() == pytest.approx(centre[1], abs=0.5)
    assert abs(weight.sum() - size.prod()) <= 0.75 * (2 * size.sum() + 4)


def test_a_scene_depends_on_seed_number_and_epoch_alone() -> None:
    one, again, other = (open_data("scenes-digits", image_hw=(48, 64), seed=seed).train for seed in (1, 1, 2))
    pixels, label = one[7]
    assert (pixels.shape, pixels.dtype, label) == ((48, 64, 3), np.uint8, int(digit_rasters("train")[1][7]))
    assert np.array_equal(pixels, again[7][0])
    assert np.array_equal(pixels, pickle.loads(pickle.dumps(one))[7][0])
    assert not np.array_equal(pixels, other[7][0])
    later = one.redrawn(3)
    assert later[7][1] == label
    assert not np.array_equal(pixels, later[7][0])
    assert np.array_equal(later[7][0], again.redrawn(1).redrawn(3)[7][0])
    assert later.fingerprint == one.fingerprint != other.fingerprint
    with pytest.raises(IndexError):
        one[len(one)]


def test_validation_and_test_scenes_are_the_same_for_every_run() -> None:
    one, other = (open_data("scenes-digits", image_hw=(32, 32), seed=seed) for seed in (0, 1))
    assert (len(one.train), len(one.val), len(one.test), one.mirrors) == (10_000, 1_000, 1_000, False)
    for split in ("val", "test"):
        assert np.array_equal(getattr(one, split)[3][0], getattr(other, split)[3][0])
        assert getattr(one, split).redrawn(5) is getattr(one, split)
        assert getattr(one, split).fingerprint == getattr(other, split).fingerprint
    prints = [split.fingerprint for split in (one.train, one.val, one.test)]
    larger = open_data("scenes-digits", image_hw=(32, 33)).val.fingerprint
    assert len({*prints, larger}) == 4


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), SIDES, SIDES)
def test_what_is_known_of_a_scene_is_one_thing(number: int, height: int, width: int) -> None:
    split = digits("test", image_hw=(height, width))
    scene = split.scene(number)
    (found,) = scene.objects
    assert np.array_equal(scene.pixels, split[number][0])
    assert found.label == split[number][1]
    assert np.array_equal(found.pose.theta, split.pose(number).theta)
    corners = corners_px(found.pose.theta[None], (height, width))[0]
    assert found.box == pytest.approx((*corners.min(axis=0), *corners.max(axis=0)))
    left, top, right, bottom = found.box
    assert -1e-3 <= left < right <= width + 1e-3
    assert -1e-3 <= top < bottom <= height + 1e-3
    side = np.hypot(*(corners[1] - corners[0])) / min(height, width)
    assert SIZE[0] - 1e-3 <= side <= SIZE[1] + 1e-3
    along = corners[1] - corners[0]
    assert abs(np.degrees(np.arctan2(along[1], along[0]))) <= TURN_DEG + 0.1


def test_several_objects_hide_none_of_each_other() -> None:
    split = digits("test", image_hw=(200, 300))
    for seed in range(20):
        placed = split._placed([1, 2, 3], np.random.default_rng(seed))
        boxes = [found.box for _, found in placed]
        assert len(boxes) >= 2
        for (l1, t1, r1, b1), (l2, t2, r2, b2) in combinations(boxes, 2):
            assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1


@settings(max_examples=200)
@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 2**32))
def test_a_digit_has_another_brightness_than_what_lies_below(under: tuple[int, int, int], seed: int) -> None:
    colour, opposite = _contrasting(under, np.random.default_rng(seed))
    assert abs(_luma(colour) - _luma(under)) > 60
    assert (_luma(colour) > _luma(under)) == (opposite == (0, 0, 0))


def test_a_piece_of_an_object_is_smaller_than_what_shows_its_class() -> None:
    stamp = DigitObjects("val").stamp(5)
    piece = piece_of(stamp, 0.25, np.random.default_rng(0))
    assert piece.picture.size == (20, 20)  # of 80 that are the digit


def test_drawn_backgrounds_are_others_in_every_split() -> None:
    drawn = [DrawnBackgrounds(split).picture(number, 16).tobytes() for split in DRAWN for number in range(20)]
    assert len(set(drawn)) == len(drawn) == 60
    assert len(set(np.frombuffer(drawn[0], np.uint8))) > 20


def test_a_picture_larger_than_the_sheet_of_grain_gets_grain_too() -> None:
    picture = with_grain(Image.new("RGB", (1500, 20), (128, 128, 128)), np.random.default_rng(0))
    assert picture.size == (1500, 20)
    assert np.asarray(picture)[:, 1400:].std() > 0.5


def test_a_cache_holds_no_more_than_it_may() -> None:
    kept, made = PictureCache(3 * 4 * 100), []

    def make(name: int) -> Image.Image:
        return kept.get(name, lambda: made.append(name) or Image.new("RGB", (10, 10)))  # type: ignore[func-returns-value]

    for name in (1, 2, 3, 1, 4, 1, 2):
        make(name)
    assert made == [1, 2, 3, 4, 2]


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


@pytest.mark.parametrize("size", [(2000, 1500), (60, 900), (1, 1), (3, 400)])
def test_objects_of_any_size_fit_into_a_small_scene(tmp_path: Path, size: tuple[int, int]) -> None:
    spec = f"scenes:{objects(tmp_path / 'objects', 3, size)},{photos(tmp_path / 'photos', 3, size=(5, 900))}"
    train = open_data(spec, image_hw=(32, 48)).train
    assert isinstance(train, SceneSplit)
    for index in range(len(train)):
        scene = train.scene(index)
        assert scene.pixels.shape == (32, 48, 3)
        left, top, right, bottom = scene.objects[0].box
        assert left >= -1e-3
        assert top >= -1e-3
        assert right <= 48.001
        assert bottom <= 32.001


class Boxed(FolderSplit):
    """A folder whose images all have a box in the same place."""

    def pose(self, index: int) -> Pose:
        return pose_from_box((90, 60), (80, 40), 30, (120, 160))


def test_an_object_is_cut_out_by_its_box_upright(tmp_path: Path) -> None:
    mark = Image.merge("RGBX", tuple(Image.new("L", (80, 40), level) for level in (250, 0, 0, 255)))
    canvas = Image.new("RGB", (160, 120), (40, 40, 40))
    paint(canvas, Stamp(mark), Boxed((), (8, 8), "").pose(0), np.random.default_rng(0))
    canvas.save(tmp_path / "one.png")
    files = ((tmp_path / "one.png", 3),)
    cut = CutObjects(Boxed(files, (8, 8), "print"))
    assert (cut.label(0), len(cut)) == (3, 1)
    assert cut.shape(0) == pytest.approx((80, 40), abs=0.7)
    picture = cut.stamp(0).picture
    red, opacity = np.asarray(picture.getchannel(0), int), np.asarray(picture.getchannel(3), int)
    assert red[5:-5, 8:-8].min() > 200  # the mark fills its box
    assert max(red[:, :3].max(), red[:, -3:].max(), red[0].max(), red[-1].max()) < 60
    assert opacity[4:-4, 8:-8].min() > 240
    assert opacity[0].max() < 200
    assert cut.fingerprint != CutObjects(FolderSplit(files, (8, 8), "print")).fingerprint


def test_a_sign_is_cut_out_along_its_outline() -> None:
    circle, triangle, yields = (sign_mask(label, 100, 100, 1.2) for label in (1, 18, 13))
    assert circle[50, 50] == triangle[50, 50] == yields[50, 50] == 255
    assert circle[10, 10] == triangle[12, 12] == triangle[12, 88] == yields[88, 12] == 0
    assert triangle[85, 15] == yields[15, 15] == 255
    assert circle.mean() / 255 == pytest.approx(np.pi / 4 * (1.06 / 1.2) ** 2, abs=0.01)


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
        ("scenes:objects,alike", DataError, "alike: 1 different photographs"),
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
