"""A folder of painted pictures: boxes that the readers of sets take back, and what is refused before any work."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import Contract, Loc, Task
from lstn.data.dataset import open_data
from lstn.data.poses import pose_from_box, pose_of
from lstn.errors import UsageError
from lstn.synthesis.painted_folder import box_of, check_folder_names, check_new_folder, write_painted

HW = (32, 48)
CONTRACT = Contract(Loc.GLANCE, "dcgan", HW, ("a", "b"), task=Task.GENERATE, noise=4, crop_hw=(16, 16))


@given(
    st.tuples(st.floats(0.5, 47.5), st.floats(0.5, 31.5)),
    st.tuples(st.floats(2, 40), st.floats(2, 40)),
    st.floats(-179, 179).filter(lambda degrees: abs(degrees) > 0.01),
)
def test_a_box_is_what_a_pose_was_made_of(
    centre: tuple[float, float], size: tuple[float, float], degrees: float
) -> None:
    found = box_of(pose_from_box(centre, size, degrees, HW).theta, HW)
    assert found is not None
    left, top, right, bottom, turned = found
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(centre, abs=1e-3)
    assert (right - left, bottom - top) == pytest.approx(size, abs=1e-3)
    assert turned == pytest.approx(degrees, abs=1e-2)


def test_an_upright_box_is_cut_off_and_one_that_left_is_none() -> None:
    assert box_of(pose_from_box((4, 16), (16, 8), 0, HW).theta, HW) == pytest.approx((0, 12, 12, 20, 0), abs=1e-4)
    assert box_of(pose_from_box((-1, 16), (16, 8), 30, HW).theta, HW) is None
    assert box_of(pose_from_box((20, 16), (0.5, 8), 30, HW).theta, HW) is None


def test_a_folder_is_a_set_with_poses(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    poses = [pose_from_box((10 + place, 14), (12, 9), 7 * place - 60, HW) for place in range(20)]
    pixels = random.integers(0, 256, (20, *HW, 3), dtype=np.uint8)
    paintings = [(pixels[place], place % 2, poses[place].theta) for place in range(20)]
    assert write_painted(tmp_path / "set", paintings, CONTRACT) == 20
    data = open_data(f"folder:{tmp_path / 'set'}", image_hw=HW)
    assert data.labels == ("a", "b")
    seen = 0
    for split in (data.train, data.val, data.test):
        for index in range(len(split)):
            image, label = split[index]
            (place,) = np.flatnonzero((pixels == image).all((1, 2, 3)))
            assert label == place % 2
            pose = pose_of(split, index)
            assert pose is not None
            np.testing.assert_allclose(pose.theta, poses[place].theta, atol=1e-3)
            seen += 1
    assert seen == 20


def test_pictures_without_a_place_have_no_table(tmp_path: Path) -> None:
    pixels = np.zeros((*HW, 3), np.uint8)
    assert write_painted(tmp_path / "set", [(pixels, 1, None)], CONTRACT) == 0
    assert sorted(path.name for path in (tmp_path / "set").rglob("*")) == ["000000.png", "b"]


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    def paintings() -> object:
        yield np.zeros((*HW, 3), np.uint8), 0, None
        raise UsageError("the engine failed")

    with pytest.raises(UsageError, match="the engine failed"):
        write_painted(tmp_path / "set", paintings(), CONTRACT)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_new_folder("--out", tmp_path / "empty")
    check_new_folder("--out", tmp_path / "new")
    (tmp_path / "empty/x").touch()
    for path, found in ((tmp_path / "empty", "it is not empty"), (tmp_path / "empty/x", "a file")):
        with pytest.raises(UsageError, match=found):
            check_new_folder("--out", path)
    with pytest.raises(UsageError, match="not a folder"):
        check_new_folder("--out", Path("-"))


@pytest.mark.parametrize("label", ["a/b", "..", "train", "Test", "a\\b", "c:", " x", "x.", "a\nb"])
def test_a_class_that_names_no_folder_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="can't name a folder"):
        check_folder_names(["fine", label])
