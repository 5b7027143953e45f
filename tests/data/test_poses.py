from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from published_sets import accept, write_mnist

from lstn.data import digits
from lstn.data.dataset import open_data
from lstn.data.distortion import Placement
from lstn.data.poses import Pose, Posed, pose_from_box, pose_of
from lstn.data.published import mnist
from lstn.images import Pixels
from lstn.warps.warp import landmarks_px, warp

BOX = 20


def likeness(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def cropped(pixels: Pixels, pose: Pose, side: int = BOX) -> Pixels:
    """What the pose shows: the picture warped as the sampler would, and reduced."""
    shown = Image.fromarray(warp(pixels, pose.theta, (0, 0, 0))).convert("L")
    return np.asarray(shown.resize((side, side), Image.Resampling.BOX))


@settings(max_examples=40, deadline=None)
@given(st.floats(-180, 180), st.integers(20, 60), st.integers(20, 60), st.integers(-9, 9), st.integers(-9, 9))
def test_a_box_turned_by_pillow_is_shown_upright_and_whole(
    degrees: float, width: int, height: int, right: int, down: int
) -> None:
    """Against Pillow's own rotation, counter-clockwise, in an oblong picture."""
    raster = np.random.default_rng(width).integers(0, 256, (4, 4), np.uint8)
    upright = Image.fromarray(raster).resize((width, height), Image.Resampling.NEAREST)
    picture = Image.new("L", (160, 110))
    left, top = 80 - width // 2 + right, 55 - height // 2 + down
    picture.paste(upright, (left, top))
    centre = (left + width / 2, top + height / 2)
    turned = picture.rotate(degrees, Image.Resampling.BILINEAR, center=centre)
    pose = pose_from_box(centre, (width, height), degrees, (110, 160))
    assert likeness(cropped(np.asarray(turned.convert("RGB")), pose, 4), raster) > 0.9


def test_the_corners_of_a_box_are_where_it_says() -> None:
    pose = pose_from_box((30.0, 20.0), (20.0, 10.0), 90.0, (50, 100))
    # Turned counter-clockwise by a quarter, the top left corner comes to the bottom left.
    assert np.allclose(
        landmarks_px(pose.theta[None], (50, 100))[0], [[25, 30], [25, 10], [35, 10], [35, 30]], atol=1e-4
    )
    assert pose.theta.dtype == np.float32
    whole = pose_from_box((50.0, 25.0), (100.0, 50.0), 0.0, (50, 100))
    assert np.array_equal(whole.theta, [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("image_hw", [(44, 44), (60, 96)])
def test_the_pose_of_an_embedded_digit_shows_the_digit_in_the_file(image_hw: tuple[int, int]) -> None:
    """Every tenth of a split, in two epochs; a fragment of another digit may lie on it."""
    for split in (open_data("digits", image_hw=image_hw, seed=2).train, digits.Digits("test", image_hw=image_hw)):
        for drawn in (split, split.redrawn(3)):
            alike = []
            for index in range(0, len(drawn), len(drawn) // 20):
                pose = pose_of(drawn, index)
                assert pose is not None
                raster = digits._load()[0][digits._PART[split.split][index]]
                alike.append(likeness(cropped(drawn[index][0], pose), raster))
            assert np.median(alike) > 0.95
            assert min(alike) > 0.6


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_mnist(tmp_path)
    accept(monkeypatch, "mnist", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "canvas"), [("mnist", 28), ("mnist-r", 28), ("mnist-rts", 42), ("mnist-cluttered", 60)]
)
def test_the_pose_of_a_distorted_digit_shows_its_box(root: Path, name: str, canvas: int) -> None:
    """The written digits' ink is at rows 5 to 22 and columns 8 to 19; their box of 20 is around the middle of that."""
    plain = open_data(f"mnist:{root}", image_hw=(28, 28))
    for image_hw in ((3 * canvas, 3 * canvas), (2 * canvas, 4 * canvas)):
        data = open_data(f"{name}:{root}", image_hw=image_hw, seed=1)
        for split, upright in ((data.train.redrawn(2), plain.train), (data.test, plain.test)):
            for index in range(0, 10, 3):
                pose = pose_of(split, index)
                assert pose is not None
                box = upright[index][0][4:24, 4:24, 0]
                # Blurred alike, for the digits are noise and an interpolated pixel is a mean of four.
                mean = box.reshape(10, 2, 10, 2).mean((1, 3))
                assert likeness(cropped(split[index][0], pose, 10), mean) > 0.9


def test_the_box_goes_with_the_ink() -> None:
    digit = np.zeros((28, 28), np.uint8)
    digit[5:23, 8:20] = 255
    placement = Placement(42, degrees=90, scale=1.2, shift=(3.0, 0.0))
    first, moved = (landmarks_px(mnist._boxed(each, placement).theta[None], (42, 42))[0]
                    for each in (digit, np.roll(digit, (2, -3), (0, 1))))  # fmt: skip
    assert np.allclose(first.mean(0), [24, 21], atol=1e-4)
    # Down and left come to right and down.
    assert np.allclose(moved - first, [2 * 1.2, 3 * 1.2], atol=1e-4)


@pytest.mark.parametrize("name", ["mnist-p", "mnist-e"])
def test_a_warped_digit_has_no_pose(root: Path, name: str) -> None:
    split = open_data(f"{name}:{root}", image_hw=(28, 28)).train
    assert pose_of(split, 0) is None


def test_a_pose_is_that_of_the_seed_the_epoch_and_the_number(root: Path) -> None:
    for name in ("digits", f"mnist-rts:{root}"):
        one, again, other = (open_data(name, image_hw=(40, 40), seed=seed).train for seed in (1, 1, 2))
        first = shown(one, 7)
        assert np.array_equal(first, shown(again, 7))
        assert not np.array_equal(first, shown(other, 7))
        assert not np.array_equal(first, shown(one, 8))
        assert not np.array_equal(first, shown(one.redrawn(3), 7))
        assert np.array_equal(shown(one.redrawn(3), 7), shown(again.redrawn(2).redrawn(3), 7))


def shown(split: object, index: int) -> npt.NDArray[np.float32]:
    posed: Posed = split  # type: ignore[assignment]
    pose = posed.pose(index)
    assert pose is not None
    return pose.theta
