from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstn.contract import Contract, Loc
from lstn.imaging.framing import BLACK
from lstn.nn.warping.transformer import Transformer
from lstn.warps.drawn_warp import contact_sheet, draw_warp
from lstn.warps.spline import CONTROL, basis
from lstn.warps.warp import CropSampling, crop_image, drift_px, landmarks_px, sampling_of, warp

IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], np.float32)

thetas = hnp.arrays(np.float32, (2, 3), elements=st.floats(-2, 2, width=32))
sizes = st.tuples(st.integers(2, 33), st.integers(2, 33))


@given(thetas, sizes, st.integers(0, 2**32 - 1))
def test_warp_is_torchs_grid_sample(theta: np.ndarray, hw: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    grid = F.affine_grid(torch.from_numpy(theta)[None].double(), list(images.shape), align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)[0].permute(1, 2, 0).numpy()
    # Pillow walks the image in fixed point and cuts to whole gray levels.
    difference = np.abs(warp(pixels, theta, BLACK) - expected)
    assert np.quantile(difference, 0.95) <= 1.5
    assert np.median(difference) <= 1


@given(thetas, sizes, st.integers(0, 2**32 - 1))
def test_with_the_colour_of_the_mean_it_is_what_the_backbone_gets(
    theta: np.ndarray, hw: tuple[int, int], seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)
    mean, std = (0.2, 0.5, 0.9), (0.1, 0.2, 0.3)
    shape = (1, 3, 1, 1)
    center, width = torch.tensor(mean).reshape(shape).double(), torch.tensor(std).reshape(shape).double()
    images = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - center) / width
    contract = Contract(Loc.STN, "cnn", hw, ("a",), mean, std)
    for crop_hw in (None, (max(1, hw[0] // 9), max(1, hw[1] // 5))):
        seen = Transformer(torch.nn.Identity(), hw, crop_hw=crop_hw).warp(
            images, torch.from_numpy(theta)[None].double()
        )
        expected = 255 * (seen * width + center)[0].permute(1, 2, 0).numpy()
        difference = np.abs(crop_image(pixels, theta, sampling_of(replace(contract, crop_hw=crop_hw))) - expected)
        assert np.quantile(difference, 0.95) <= 2
        assert np.median(difference) <= 1


def test_identity_gives_the_image_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    assert np.array_equal(warp(pixels, IDENTITY), pixels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_runaway_theta_draws_one_colour_and_does_not_crash(value: float) -> None:
    pixels = np.full((8, 8, 3), 255, np.uint8)
    theta = np.full((2, 3), value, np.float32)
    assert warp(pixels, theta, (10, 20, 30)).reshape(-1, 3).tolist() == [[10, 20, 30]] * 64
    assert draw_warp(pixels, theta, CropSampling(BLACK), side=32).size == (72, 32)


def test_corners_of_the_identity_are_the_images_own() -> None:
    assert landmarks_px(IDENTITY[None], (10, 20)).tolist() == [[[0, 0], [20, 0], [20, 10], [0, 10]]]


def test_drift_is_the_corner_that_moved_most() -> None:
    shifted = IDENTITY.copy()
    shifted[0, 2] = 0.1  # a tenth of half the width: 1 pixel of 20
    turned = np.array([[0, -1, 0], [1, 0, 0]], np.float32)
    assert drift_px(np.stack([IDENTITY, shifted]), np.stack([IDENTITY, IDENTITY]), (10, 20)) == pytest.approx([0, 1])
    assert drift_px(turned[None], IDENTITY[None], (20, 20)) == pytest.approx([20])


def test_a_sheet_holds_every_picture() -> None:
    pictures = [draw_warp(np.zeros((4, 4, 3), np.uint8), IDENTITY, CropSampling(BLACK), side=8) for _ in range(5)]
    assert contact_sheet(pictures, columns=2, gap=1).size == (2 * 25 + 1, 3 * 9 + 1)
    assert contact_sheet(pictures[:1], columns=4, gap=1).size == (26, 10)


def test_the_control_points_of_a_spline_are_an_even_grid_row_by_row() -> None:
    places = (-1, -1 / 3, 1 / 3, 1)
    assert pytest.approx(np.array([(x, y) for y in places for x in places])) == CONTROL


def test_a_spline_bends_least_where_one_point_is_pulled() -> None:
    """Against the linear system of Bookstein 1989, solved here for weights and affine part: U(r) = r^2 log r^2."""
    theta = CONTROL + np.where(np.arange(16)[:, None] == 5, (0.3, -0.2), 0.0)
    points = np.random.default_rng(0).uniform(-1, 1, (40, 2))

    def kernel(ours: np.ndarray) -> np.ndarray:
        out = np.zeros((len(ours), 16))
        for row, point in enumerate(ours):
            for column, control in enumerate(CONTROL):
                square = float(((point - control) ** 2).sum())
                out[row, column] = square * np.log(square) if square else 0.0
        return out

    ones = np.column_stack([np.ones(16), CONTROL])
    system = np.block([[kernel(CONTROL), ones], [ones.T, np.zeros((3, 3))]])
    solved = np.linalg.solve(system, np.concatenate([theta, np.zeros((3, 2))]))
    expected = np.column_stack([kernel(points), np.ones(40), points]) @ solved
    assert basis(points) @ theta == pytest.approx(expected, abs=1e-9)
    assert basis(points).sum(axis=1) == pytest.approx(1)
