"""Scenes with several objects: what a split says of them is what it shows."""

import pickle
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from published_sets import accept, write_gtsrb
from small_scenes import Gray, objects, photos

from lstn.data.dataset import open_data
from lstn.data.object_sets import MOST_OBJECTS, open_objects
from lstn.data.objects import Objects, objects_of
from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.placing import TURN_DEG
from lstn.data.scenes.scene_split import SceneSplit
from lstn.data.splits import Split
from lstn.errors import DataError, UsageError
from lstn.warps.quadrilaterals import overlaps, upright_box
from lstn.warps.warp import landmarks_px

HW = (160, 200)


def same(one: Objects, other: Objects) -> bool:
    return np.array_equal(one.labels, other.labels) and np.array_equal(one.thetas, other.thetas)


def several(split: Split, count: int) -> list[Objects]:
    return [objects_of(split, index) for index in range(count)]


def test_a_scene_has_one_to_five_objects_that_hide_none_of_each_other() -> None:
    found = several(open_objects("scenes-digits", image_hw=HW).train, 200)
    counts = np.bincount([len(each) for each in found], minlength=MOST_OBJECTS + 1)
    assert counts[0] == 0
    assert len(counts) == MOST_OBJECTS + 1
    assert counts[1:].min() > 5  # a scene that is full has fewer than were drawn, so five are rarer
    for each in found:
        assert (each.labels.dtype, each.thetas.dtype) == (np.int64, np.float32)
        assert each.thetas.shape == (len(each), 2, 3)
        boxes = [upright_box(theta, HW) for theta in each.thetas]
        for (l1, t1, r1, b1), (l2, t2, r2, b2) in combinations(boxes, 2):
            assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1
        assert all(
            left >= -1e-3 and top >= -1e-3 and right <= HW[1] + 1e-3 and low <= HW[0] + 1e-3
            for left, top, right, low in boxes
        )
        along = [corners[1] - corners[0] for corners in landmarks_px(each.thetas, HW)]
        assert all(abs(np.degrees(np.arctan2(y, x))) <= TURN_DEG + 0.1 for x, y in along)
    assert set(np.concatenate([each.labels for each in found])) == set(range(10))


def test_the_objects_are_where_the_picture_shows_them() -> None:
    """On gray, without grain or clutter to speak of, what differs from the mean lies in the boxes or in pieces."""
    split = SceneSplit("test", DigitObjects("test"), Gray(), image_hw=HW, seed=0, most=MOST_OBJECTS)
    alone = SceneSplit("test", DigitObjects("test"), Gray(), image_hw=HW, seed=0)
    for index in range(12):
        scene, known = split.scene(index), split.objects(index)
        assert [each.label for each in scene.objects] == known.labels.tolist()
        assert split[index][1] == known.labels[0] == alone[index][1]
        for each in scene.objects:
            left, top, right, bottom = (round(side) for side in each.box)
            inside = scene.pixels[top:bottom, left:right].astype(int)
            assert np.abs(inside - 128).max() > 40  # a digit contrasts with the gray


def test_seed_number_epoch_and_split_alone_decide() -> None:
    one, again, other = (open_objects("scenes-digits", image_hw=HW, seed=seed).train for seed in (1, 1, 2))
    later = one.redrawn(3)
    for index in range(5):
        assert np.array_equal(one[index][0], again[index][0])
        assert same(objects_of(one, index), objects_of(pickle.loads(pickle.dumps(one)), index))
        assert same(objects_of(later, index), objects_of(again.redrawn(1).redrawn(3), index))
        assert not same(objects_of(later, index), objects_of(one, index))
        assert not same(objects_of(other, index), objects_of(one, index))
    assert later.fingerprint == one.fingerprint != other.fingerprint
    assert one.fingerprint != open_data("scenes-digits", image_hw=HW, seed=1).train.fingerprint
    first, second = (open_objects("scenes-digits", image_hw=HW, seed=seed).val for seed in (1, 2))
    assert all(same(objects_of(first, index), objects_of(second, index)) for index in range(5))
    with pytest.raises(IndexError):
        objects_of(one, len(one))


def test_scenes_with_one_object_are_those_of_classification() -> None:
    """And these are bit for bit what they were before scenes could have several."""
    split = open_data("scenes-digits", image_hw=(96, 120), seed=7).train.redrawn(3)
    known = objects_of(split, 5)
    assert known.labels.tolist() == [split[5][1]]
    assert np.array_equal(known.thetas[0], split.pose(5).theta)  # type: ignore[attr-defined]
    assert split.fingerprint == "scenes train (96, 120) 7: digits of MNIST train 10000; drawn 15 train 200"


def test_objects_of_folders_and_signs_are_scattered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = f"scenes:{objects(tmp_path / 'objects')},{photos(tmp_path / 'photos', 3)}"
    data = open_objects(spec, image_hw=(64, 64), labels=("bus", "car", "ship"))
    assert data.labels == ("bus", "car", "ship")
    assert "one to 5 objects" in data.parts
    assert max(len(each) for each in several(data.train, 16)) > 1
    write_gtsrb(tmp_path)
    accept(monkeypatch, "gtsrb", tmp_path)
    signs = open_objects(f"scenes-signs:{tmp_path}", image_hw=(96, 96)).train
    found = several(signs, 20)
    assert max(len(each) for each in found) > 1
    for each in found:
        assert overlaps(each.thetas, each.thetas) == pytest.approx(np.eye(len(each)))


def test_what_does_not_say_where_its_objects_are_is_refused() -> None:
    with pytest.raises(UsageError, match="'digits' is not a data set for detection"):
        open_objects("digits", image_hw=HW)
    with pytest.raises(DataError, match="and not where"):
        objects_of(open_data("digits", image_hw=(32, 32)).val, 0)
