"""Pictures of warps: the outline, where it lies, and how pictures are laid out."""

import numpy as np
import pytest
from PIL import Image

from lstn.contract import ThetaForm
from lstn.imaging.framing import BLACK
from lstn.warps.drawn_warp import contact_sheet, draw_outline, draw_warp, outline_px
from lstn.warps.spline import CONTROL
from lstn.warps.warp import CropSampling, crop_image, disc_reach

HALF = np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32)
ORANGE, BLUE, WHITE = (255, 149, 0), (0, 194, 255), (255, 255, 255)


def test_an_outline_goes_round_from_the_upper_left_corner() -> None:
    edges = outline_px(HALF, (40, 80))
    corners = np.array([(20, 10), (60, 10), (60, 30), (20, 30)])
    assert edges.shape == (4, 2, 2)
    assert edges[:, 0] == pytest.approx(corners)
    assert edges[:, 1] == pytest.approx(np.roll(corners, -1, 0))


def test_a_curved_outline_has_points_along_each_edge() -> None:
    edges = outline_px(CONTROL.astype(np.float32), (40, 80), ThetaForm.TPS)
    assert edges.shape == (4, 17, 2)
    assert edges[0] == pytest.approx(np.column_stack([np.linspace(0, 80, 17), np.zeros(17)]), abs=1e-4)
    assert edges[1] == pytest.approx(np.column_stack([np.full(17, 80), np.linspace(0, 40, 17)]), abs=1e-4)


def test_the_outline_of_a_log_polar_crop_is_the_rim_of_its_disc() -> None:
    hw = (40, 80)
    edges = outline_px(np.eye(2, 3, dtype=np.float32), hw, ThetaForm.POLAR)
    assert edges.shape == (4, 17, 2)
    angle = np.pi * np.linspace(-1, 1, 65)
    reach = disc_reach(hw) * np.array([40, 20])
    rim = np.array([40, 20]) + np.column_stack([np.cos(angle), np.sin(angle)]) * reach
    assert edges.reshape(-1, 2) == pytest.approx(np.concatenate([rim[at : at + 17] for at in (0, 16, 32, 48)]))


def test_the_image_is_beside_its_crop_and_the_top_edge_is_orange() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[10:] = 200
    sampling = CropSampling(BLACK)
    picture = draw_warp(pixels, HALF, sampling, side=80)
    assert picture.size == (80 + 8 + 80, 40)
    crop = Image.fromarray(crop_image(pixels, HALF, sampling)).resize((80, 40), Image.Resampling.BICUBIC)
    assert np.array_equal(picture.crop((88, 0, 168, 40)), crop)
    assert [picture.getpixel((x, 20)) for x in (80, 87)] == [WHITE] * 2
    assert picture.getpixel((40, 10)) == ORANGE
    assert [picture.getpixel(at) for at in ((20, 20), (60, 20), (40, 30))] == [BLUE] * 3
    assert picture.getpixel((5, 5)) == (0, 0, 0)
    assert picture.getpixel((5, 38)) == (200, 200, 200)
    assert draw_warp(pixels.transpose(1, 0, 2), HALF, sampling, side=80).size == (40 + 8 + 40, 80)
    assert draw_warp(np.zeros((1, 400, 3), np.uint8), HALF, sampling, side=8).size == (8 + 8 + 8, 1)


def test_several_warps_are_one_beside_the_other() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    sampling, thetas = CropSampling(BLACK), np.stack([HALF, 2 * HALF])
    picture = draw_warp(pixels, thetas, sampling, side=16)
    assert picture.size == (3 * 24 - 8, 16)
    for place, theta in enumerate(thetas, start=1):
        assert np.array_equal(picture.crop((24 * place, 0, 24 * place + 16, 16)), crop_image(pixels, theta, sampling))


def test_an_outline_that_is_nowhere_is_not_drawn() -> None:
    picture = Image.new("RGB", (8, 8))
    draw_outline(picture, np.full((2, 3), np.nan, np.float32), ThetaForm.AFFINE)
    assert picture.getextrema() == ((0, 0),) * 3
    draw_outline(picture, 1e30 * HALF, ThetaForm.AFFINE)


def test_pictures_are_laid_out_in_rows_with_gaps_around() -> None:
    pictures = [Image.new("RGB", (3, 2), (10 * number, 0, 0)) for number in range(5)]
    sheet = contact_sheet(pictures, columns=2, gap=1)
    assert sheet.size == (2 * 4 + 1, 3 * 3 + 1)
    expected = np.full((10, 9, 3), 255)
    for number in range(5):
        row, column = divmod(number, 2)
        expected[1 + 3 * row : 3 + 3 * row, 1 + 4 * column : 4 + 4 * column] = (10 * number, 0, 0)
    assert np.array_equal(sheet, expected)
    assert contact_sheet(pictures).size == (4 * 11 + 8, 2 * 10 + 8)
