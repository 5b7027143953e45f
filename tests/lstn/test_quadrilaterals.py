"""Overlaps of quadrilaterals, against a count of points, polygons clipped by a loop, and cases done by hand."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.data.poses import pose_from_box
from lstn.warps.quadrilaterals import areas_px, overlaps, upright_box, upright_boxes
from lstn.warps.warp import CORNERS, Theta, landmarks_px, sampled

PLACE, SIDE = st.floats(-1.5, 1.5), st.floats(-1.2, 1.2)
THETA = st.tuples(SIDE, SIDE, PLACE, SIDE, SIDE, PLACE).map(lambda v: np.array(v, np.float32).reshape(2, 3))


def box(x: float, y: float, wide: float, high: float, degrees: float = 0.0) -> Theta:
    """Return the theta of a box in a picture of 200 x 100 pixels."""
    return pose_from_box((x, y), (wide, high), degrees, (100, 200)).theta


def clipped(polygon: npt.NDArray[np.float64], by: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut a convex polygon by another one, edge after edge (Sutherland and Hodgman 1974)."""
    turn = np.sign(area(by))
    for start, end in zip(by, np.roll(by, -1, 0), strict=True):
        kept = []
        along = end - start
        side = [turn * float(along @ [point[1] - start[1], start[0] - point[0]]) for point in polygon]
        for here, there, inside, next_inside in zip(
            polygon, np.roll(polygon, -1, 0), side, np.roll(side, -1), strict=True
        ):
            if inside >= 0:
                kept.append(here)
            if (inside >= 0) != (next_inside >= 0):
                kept.append(here + (there - here) * inside / (inside - next_inside))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def area(polygon: npt.NDArray[np.float64]) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def by_loops(one: Theta, other: Theta) -> float:
    first, second = sampled(one, CORNERS), sampled(other, CORNERS)
    if not area(first) or not area(second):
        return 0.0
    both = abs(area(clipped(first, second)))
    return both / (abs(area(first)) + abs(area(second)) - both)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (box(50, 50, 20, 40), box(50, 50, 20, 40), 1.0),
        (box(50, 50, 20, 40), box(60, 50, 20, 40), 1 / 3),
        (box(50, 50, 20, 40), box(70, 50, 20, 40), 0.0),  # they touch
        (box(50, 50, 20, 40), box(150, 50, 20, 40), 0.0),
        (box(50, 50, 40, 40), box(50, 50, 20, 10), 1 / 8),  # one in the other
        (box(50, 50, 40, 10), box(50, 50, 40, 10, 90), 100 / 700),  # a cross, in pixels
        (box(50, 50, 40, 40), box(50, 50, 40, 40, 45), 1 / np.sqrt(2)),  # an octagon
        (box(50, 50, 40, 40), box(50, 50, 40, 40, 90), 1.0),
        (box(0, 0, 40, 40), box(10, 0, 40, 40), 0.6),  # half outside of the picture: that counts too
    ],
)
def test_overlaps_done_by_hand(one: Theta, other: Theta, share: float) -> None:
    assert overlaps(one[None], other[None]) == pytest.approx(share, abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(st.lists(THETA, min_size=1, max_size=3), st.lists(THETA, min_size=1, max_size=3))
def test_overlaps_are_those_of_polygons_cut_edge_after_edge(one: list[Theta], other: list[Theta]) -> None:
    found = overlaps(np.stack(one), np.stack(other))
    assert found.shape == (len(one), len(other))
    assert found.min() >= 0
    assert found.max() <= 1
    for row, first in zip(found, one, strict=True):
        for share, second in zip(row, other, strict=True):
            sides = [abs(np.linalg.det(each[:, :2].astype(np.float64))) for each in (first, second)]
            if min(sides) > 1e-4:  # slivers are beyond what the loops can do
                assert share == pytest.approx(by_loops(first, second), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(THETA, THETA)
def test_overlaps_do_not_depend_on_the_order_nor_on_mirrors(one: Theta, other: Theta) -> None:
    pair = np.stack([one, other])
    both = overlaps(pair, pair)
    mirrored = pair * np.array([-1, 1, 1], np.float32)
    sides = np.abs(np.linalg.det(pair[:, :, :2].astype(np.float64)))
    if sides.min() > 1e-4:
        assert both == pytest.approx(both.T, abs=1e-8)
        assert both == pytest.approx(overlaps(pair, mirrored), abs=1e-8)
        assert np.diag(both) == pytest.approx(1)


def test_overlaps_agree_with_a_count_of_points() -> None:
    rng = np.random.default_rng(3)
    thetas = np.stack([box(*rng.uniform((40, 30, 20, 20, -90), (160, 70, 80, 60, 90))) for _ in range(12)])
    spots = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 300), np.linspace(-1.5, 1.5, 300)), -1).reshape(-1, 2)
    covered = np.stack(
        [(np.abs((spots - t[:, 2]) @ np.linalg.inv(t[:, :2].astype(float)).T) <= 1).all(axis=1) for t in thetas]
    ).astype(np.float64)
    both = covered @ covered.T
    counts = covered.sum(axis=1)
    assert overlaps(thetas, thetas) == pytest.approx(both / (counts[:, None] + counts - both), abs=0.02)


def test_what_has_no_area_or_is_not_finite_overlaps_nothing() -> None:
    whole = np.eye(2, 3, dtype=np.float32)
    flat = np.array([[1, 1, 0], [1, 1, 0]], np.float32)
    lost = np.full((2, 3), np.nan, np.float32)
    huge = np.array([[3e38, 0, 0], [0, 3e38, 0]], np.float32)
    thetas = np.stack([whole, flat, lost, np.zeros((2, 3), np.float32), huge])
    expected = np.zeros((5, 5))
    expected[0, 0] = expected[4, 4] = 1
    assert overlaps(thetas, thetas) == pytest.approx(expected)
    assert overlaps(thetas[:0], thetas).shape == (0, 5)
    assert overlaps(thetas, thetas[:0]).shape == (5, 0)


def test_slivers_neither_fail_nor_leave_the_range() -> None:
    """Of columns that are almost parallel, a general inverse may find a matrix to be singular that has an area."""
    rng = np.random.default_rng(0)
    column, factor = rng.normal(0, 1, (2000, 2, 1)), rng.normal(0, 1, (2000, 1, 1))
    middle = rng.normal(0, 0.1, (2000, 2, 1))
    slivers = np.concatenate([column, column * factor, middle], axis=2).astype(np.float32)
    with np.errstate(all="raise"):
        shares = overlaps(slivers[:100], slivers)
    assert np.isfinite(shares).all()
    assert shares.min() >= 0
    assert shares.max() <= 1


def test_many_pairs_are_compared_in_parts() -> None:
    rng = np.random.default_rng(1)
    many = rng.normal(0, 1, (400, 2, 3)).astype(np.float32)
    whole = overlaps(many, many)
    parts = np.concatenate([overlaps(many[row : row + 1], many) for row in range(0, 400, 57)])
    assert np.array_equal(whole[::57], parts)


@settings(deadline=None, max_examples=50)
@given(st.lists(THETA, min_size=1, max_size=4), st.integers(1, 500), st.integers(1, 500))
def test_an_upright_box_is_around_all_corners(thetas: list[Theta], height: int, width: int) -> None:
    boxes = upright_boxes(np.stack(thetas), (height, width))
    for theta, found in zip(thetas, boxes, strict=True):
        corners = landmarks_px(theta[None], (height, width))[0]
        assert tuple(found) == upright_box(theta, (height, width)) == (*corners.min(axis=0), *corners.max(axis=0))


def test_areas_are_in_pixels() -> None:
    thetas = np.stack([box(50, 50, 20, 40, 30), box(50, 50, 20, 40) * np.array([-1, 1, 1], np.float32)])
    assert areas_px(thetas, (100, 200)) == pytest.approx([800, 800], rel=1e-5)
