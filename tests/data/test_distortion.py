import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from lstn.data import distortion
from lstn.data.distortion import DISTORTIONS, Placement, bend, homography, sample_bilinear, similar

RNG = np.random.default_rng(7)
DIGIT = np.pad(RNG.integers(0, 256, (20, 20)), 4).astype(np.uint8)
OTHERS = RNG.integers(0, 256, (9, 28, 28)).astype(np.uint8)


def levels(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("quarters", [-1, 0, 1, 2, 3])
def test_quarter_turns_are_those_of_numpy(quarters: int) -> None:
    assert levels(similar(DIGIT, Placement(28, degrees=90 * quarters)), np.rot90(DIGIT, quarters)) == 0


def test_whole_pixel_shifts_and_doubling_move_pixels_unchanged() -> None:
    canvas = similar(DIGIT, Placement(42, shift=(5, -3)))
    assert levels(canvas[4:32, 12:40], DIGIT) == 0
    assert canvas.sum() == DIGIT.sum()
    halved = similar(np.kron(DIGIT, np.ones((2, 2), np.uint8)), Placement(28, scale=0.5))
    assert levels(halved, DIGIT) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sampling_is_that_of_scipy(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-3, 31, (13, 17, 2))
    padded = np.pad(DIGIT.astype(float), 2)  # scipy's own border ends at the last centre
    want = map_coordinates(padded, [points[..., 1] + 1.5, points[..., 0] + 1.5], order=1)
    assert np.abs(sample_bilinear(DIGIT, points) - want).max() <= 0.5 + 1e-6


def test_a_spline_that_moves_nothing_is_the_identity_and_others_are_scipys() -> None:
    assert levels(bend(DIGIT, np.zeros((16, 2))), DIGIT) == 0
    moved = np.random.default_rng(1).normal(0, 1.5, (16, 2))
    line = np.linspace(0, 28, 4)
    control = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    centres = distortion.pixel_centres(28)
    want = RBFInterpolator(control, moved, kernel="thin_plate_spline")(centres.reshape(-1, 2))
    assert np.allclose(distortion.spline(28) @ moved, want.reshape(28, 28, 2), atol=1e-8)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_homography_takes_corners_to_corners(seed: int) -> None:
    source = distortion.square_corners(28) + np.random.default_rng(seed).uniform(-6, 6, (4, 2))
    mapped = np.c_[source, np.ones(4)] @ homography(source, distortion.square_corners(28)).T
    assert np.allclose(mapped[:, :2] / mapped[:, 2:], distortion.square_corners(28), atol=1e-6)


def test_convex_is_convex() -> None:
    assert distortion.convex(distortion.square_corners(28))
    assert not distortion.convex(distortion.square_corners(28)[::-1])  # mirrored
    assert not distortion.convex(np.array([[0, 0], [28, 0], [5, 5], [0, 28]]))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(DISTORTIONS)), st.integers(0, 2**32 - 1))
def test_a_draw_depends_on_its_generator_alone(name: str, seed: int) -> None:
    one, again = (DISTORTIONS[name](DIGIT, OTHERS, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(one, again)
    assert one.shape == {"rts": (42, 42), "cluttered": (60, 60)}.get(name, (28, 28))
    assert one.any()  # it is still there
    assert np.array_equal(DIGIT, np.pad(DIGIT[4:-4, 4:-4], 4))  # and the source is untouched


def test_rotations_fill_the_range_of_the_paper_and_no_more() -> None:
    bar = np.zeros((28, 28), np.uint8)
    bar[4:14, 13:15] = 255  # points up
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(400):
        y, x = np.nonzero(DISTORTIONS["r"](bar, OTHERS, rng) > 100)
        angles.append(np.rad2deg(np.arctan2(14 - x.mean() - 0.5, 14 - y.mean() - 0.5)))
    assert -93 < min(angles) < -85
    assert 85 < max(angles) < 93


def test_clutter_is_six_patches_around_a_whole_digit() -> None:
    flat = np.full((5, 28, 28), 40, np.uint8)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(50):
        canvas = DISTORTIONS["cluttered"](np.full((28, 28), 200, np.uint8), flat, rng)
        y, x = np.nonzero(canvas == 200)
        assert (np.ptp(y), np.ptp(x), len(y)) == (27, 27, 784)  # the digit is whole, and on top
        areas.append(int((canvas == 40).sum()))
        assert set(np.unique(canvas)) <= {0, 40, 200}
    assert max(areas) <= 6 * 36
    assert max(areas) > 5 * 36
