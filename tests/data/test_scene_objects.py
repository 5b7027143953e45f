"""Objects of scenes: how they are cut out, outlined and coloured."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_scenes import objects, photos

from lstn.data.dataset import open_data
from lstn.data.folders.class_folders import FolderSplit
from lstn.data.poses import Pose, pose_from_box
from lstn.data.scenes.cut_objects import CutObjects
from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.painting import Stamp, _contrasting, _luma, paint, piece_of
from lstn.data.scenes.scene_split import SceneSplit
from lstn.data.scenes.sign_outlines import sign_mask


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
