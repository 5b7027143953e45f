"""Maps of the crop carried back: each pixel gets what the crop's point that was read there had."""

import numpy as np
import pytest

from lstn.contract import ThetaForm
from lstn.explanation.onto_photo import onto_photo
from lstn.imaging.framing import BLACK
from lstn.warps.drawn_warp import outline_px
from lstn.warps.spline import CONTROL
from lstn.warps.warp import CropSampling, identity_theta

HW = 60, 80
TURNED = np.array([[0.4, -0.25, 0.2], [0.3, 0.35, -0.1]], np.float32)
FAR = np.array([[1.5, 0.4, 0.5], [-0.3, 1.2, 0.4]], np.float32)
PROJECTIVE = np.vstack([TURNED, [0.2, -0.1, 1]]).astype(np.float32)
BENT = (0.5 * CONTROL + 0.05 * np.sin(7 * CONTROL[:, ::-1])).astype(np.float32)
THETAS = [
    (TURNED, ThetaForm.AFFINE, (60, 80)),
    (TURNED, ThetaForm.SIMILARITY, (20, 24)),
    (FAR, ThetaForm.AFFINE, (15, 15)),
    (PROJECTIVE, ThetaForm.PROJECTIVE, (30, 30)),
    (BENT, ThetaForm.TPS, (30, 40)),
    (TURNED, ThetaForm.POLAR, (40, 40)),
]


def inside(polygon: np.ndarray) -> np.ndarray:
    """Which pixel centres lie in a polygon (M, 2), by counting edges to their right."""
    found = np.zeros(HW, bool)
    for row, column in np.ndindex(HW):
        x, y = column + 0.5, row + 0.5
        crossings = 0
        for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                crossings += 1
        found[row, column] = crossings % 2 == 1
    return found


@pytest.mark.parametrize(("theta", "form", "crop_hw"), THETAS, ids=lambda each: getattr(each, "value", ""))
def test_what_is_coloured_is_what_lies_within_the_outline(
    theta: np.ndarray, form: ThetaForm, crop_hw: tuple[int, int]
) -> None:
    found = onto_photo(np.ones(crop_hw), theta, CropSampling(BLACK, crop_hw, form), HW) > 0
    outline = outline_px(theta, HW, form).reshape(-1, 2)
    wanted = inside(outline)
    if form is ThetaForm.POLAR:  # the disc's middle is not read
        wanted &= ~inside(outline.mean(0) + (outline - outline.mean(0)) / 14)
    assert (found != wanted).mean() < 0.03
    edge = np.pad(wanted, 1, mode="edge")
    deep = np.logical_and.reduce(
        [edge[1 + dy : 1 + dy + HW[0], 1 + dx : 1 + dx + HW[1]] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    )
    assert found[deep].all(), "no holes"
    assert wanted.any()


@pytest.mark.parametrize("theta", [TURNED, FAR])
def test_a_place_of_the_crop_is_shown_where_it_was_read(theta: np.ndarray) -> None:
    """Against the inverse of the matrix, pixel by pixel: the map is a ramp, so that every place has a value."""
    crop_hw = 50, 50
    y, x = np.mgrid[0:50, 0:50]
    heat = 3.0 * (2 * x + 1) / 50 + 5.0 * (2 * y + 1) / 50  # at the centre of pixel (y, x): 3 (u + 1) + 5 (v + 1)
    found = onto_photo(heat, theta, CropSampling(BLACK, crop_hw), HW)
    inverse = np.linalg.inv(np.vstack([theta, [0, 0, 1]]))
    checked = 0
    for row, column in np.ndindex(HW):
        u, v, _ = inverse @ ((2 * column + 1) / HW[1] - 1, (2 * row + 1) / HW[0] - 1, 1)
        if max(abs(u), abs(v)) < 0.9:
            checked += 1
            assert found[row, column] == pytest.approx(3 * (u + 1) + 5 * (v + 1), abs=0.35)
    assert checked > 100


def test_a_model_without_a_transformer_sees_the_picture_itself() -> None:
    heat = np.random.default_rng(0).normal(size=HW)
    assert onto_photo(heat, None, CropSampling(BLACK), HW) == pytest.approx(heat, abs=1e-6)
    same = onto_photo(heat, identity_theta(ThetaForm.AFFINE), CropSampling(BLACK), HW)
    assert np.corrcoef(same.ravel(), heat.ravel())[0, 1] > 0.9


def test_a_warp_that_leaves_the_picture_or_is_not_a_number_colours_nothing() -> None:
    away = TURNED + np.array([[0, 0, 9], [0, 0, 9]], np.float32)
    for theta in (away, np.full((2, 3), np.nan, np.float32), 1e30 * TURNED):
        assert not onto_photo(np.ones((20, 20)), theta, CropSampling(BLACK, (20, 20)), HW).any()
