"""Painting of scenes: poses, several objects, backgrounds, and what a scene depends on."""

import pickle
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_scenes import digits

from lstn.data.dataset import open_data
from lstn.data.digits import digit_rasters
from lstn.data.poses import Pose, pose_from_box
from lstn.data.scenes.backgrounds import DRAWN, DrawnBackgrounds, with_grain
from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.painting import Stamp, paint
from lstn.data.scenes.picture_cache import PictureCache
from lstn.data.scenes.placing import SIZE, TURN_DEG
from lstn.images import Pixels
from lstn.warps.warp import landmarks_px, warp

SIDES = st.integers(8, 120)


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
    corners = landmarks_px(found.pose.theta[None], (height, width))[0]
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
