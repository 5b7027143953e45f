"""Steadied warps, against the one-Euro filter of one number, written down as its paper has it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.warps.steadying import HZ_PER_SPEED, REST_HZ, SteadyWarp

FRAME_S = 1 / 25


def shifted(x: float) -> np.ndarray:
    return np.array([[0.5, 0, x], [0, 0.5, 0]], np.float32)


def one_euro(values: list[float], frame_s: float) -> list[float]:
    """Casiez et al. 2012, appendix A, with the speed's cutoff at 1 Hz."""

    def alpha(cutoff: float) -> float:
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / frame_s)

    found, speed = [values[0]], 0.0
    for before, value in itertools.pairwise(values):
        speed = alpha(1.0) * (value - before) / frame_s + (1 - alpha(1.0)) * speed
        weight = alpha(REST_HZ + HZ_PER_SPEED * abs(speed))
        found.append(weight * value + (1 - weight) * found[-1])
    return found


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=30), st.floats(0.001, 10))
def test_a_warp_that_shifts_is_filtered_as_its_shift(values: list[float], frame_s: float) -> None:
    filter_ = SteadyWarp()
    found = [filter_.steadied(shifted(value), 3 + index * frame_s) for index, value in enumerate(values)]
    np.testing.assert_allclose([each[0, 2] for each in found], one_euro(values, frame_s), atol=1e-4)
    for each in found:
        np.testing.assert_allclose(each[:, :2], [[0.5, 0], [0, 0.5]])


def test_a_still_warp_trembles_less() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, (200, 2, 3)).astype(np.float32)
    filter_ = SteadyWarp()
    found = np.array([filter_.steadied(shifted(0) + each, index * FRAME_S) for index, each in enumerate(noise)])
    assert found[50:].std(axis=0).max() < 0.75 * noise[50:].std(axis=0).min()


def test_a_moving_warp_hardly_lags() -> None:
    """A mean with the cutoff of a warp at rest lags 0.16 seconds behind, here 0.16 of the picture's half."""
    filter_ = SteadyWarp()
    for index in range(50):
        steady = filter_.steadied(shifted(index * FRAME_S), index * FRAME_S)
    assert 0 < 49 * FRAME_S - steady[0, 2] < 0.04


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (16, 2), (4, 2, 3), (2, 16, 2)])
def test_all_shapes_of_warps_are_steadied(shape: tuple[int, ...]) -> None:
    thetas = np.random.default_rng(1).uniform(0.5, 1, (2, *shape)).astype(np.float32)
    filter_ = SteadyWarp()
    np.testing.assert_array_equal(filter_.steadied(thetas[0], 0), thetas[0])
    found = filter_.steadied(thetas[1], FRAME_S)
    share = (found - thetas[0]) / (thetas[1] - thetas[0])
    assert (found.shape, found.dtype) == (shape, np.float32)
    np.testing.assert_allclose(share, share.flat[0], rtol=1e-3)  # one mean of all of it
    assert 0 < share.flat[0] < 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_time_that_does_not_go_on_begins_anew(seconds: float) -> None:
    filter_ = SteadyWarp()
    filter_.steadied(shifted(0), 0)
    np.testing.assert_array_equal(filter_.steadied(shifted(1), seconds), shifted(1))


def test_a_broken_warp_breaks_no_other() -> None:
    filter_ = SteadyWarp()
    filter_.steadied(shifted(0), 0)
    assert np.isnan(filter_.steadied(shifted(math.nan), FRAME_S)[0, 2])
    np.testing.assert_array_equal(filter_.steadied(shifted(1), 2 * FRAME_S), shifted(1))


def test_a_warp_whose_corners_are_nowhere_is_the_last_of_its_video() -> None:
    """A projective one may read its left edge from infinity, with nothing but finite numbers in it."""
    horizon = np.array([[1, 0, 0.5], [0, 1, 0], [1, 0, 1]], np.float32)
    plain = np.eye(3, dtype=np.float32)
    filter_ = SteadyWarp()
    filter_.steadied(plain, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        filter_.steadied(horizon, FRAME_S)
    moved = plain + np.float32(0.1)
    np.testing.assert_array_equal(filter_.steadied(moved, 2 * FRAME_S), moved)
