"""Grids of every form against a loop in float64, scipy's splines, and the crop that NumPy makes."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator

from lstn.contract import Contract, Loc, ThetaForm
from lstn.errors import UsageError
from lstn.nn.warping.forms import FORMS, frame, landmarks
from lstn.nn.warping.grids import constant_of, grid_of
from lstn.nn.warping.spatial_transformer import SpatialTransformer
from lstn.nn.warping.transformer import Transformer, compose
from lstn.warps.spline import CONTROL
from lstn.warps.warp import crop_image, drift_px, frame_of, identity_theta, landmarks_px, sampling_of

HW = (64, 48)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
forms = st.sampled_from(ThetaForm)
seeds = st.integers(0, 2**32 - 1)


def some_theta(form: ThetaForm, seed: int, count: int = 2, spread: float = 0.3) -> torch.Tensor:
    """Thetas that a localizer of this form could answer, (count, …)."""
    bounds = FORMS[form]
    numbers = torch.randn(count, len(bounds.start), generator=torch.Generator().manual_seed(seed)) * spread
    return bounds.theta(torch.tensor(bounds.start) + numbers)


def grid(
    form: ThetaForm, theta: torch.Tensor, hw: tuple[int, int], image_hw: tuple[int, int] = (30, 30)
) -> torch.Tensor:
    return grid_of(form, theta, hw, constant_of(form, hw, image_hw))


def affine_at(theta: np.ndarray, x: float, y: float) -> tuple[float, float]:
    return theta[0, 0] * x + theta[0, 1] * y + theta[0, 2], theta[1, 0] * x + theta[1, 1] * y + theta[1, 2]


def projective_at(theta: np.ndarray, x: float, y: float) -> tuple[float, float]:
    depth = theta[2, 0] * x + theta[2, 1] * y + theta[2, 2]
    across, down = affine_at(theta, x, y)
    return across / depth, down / depth


def polar_at(theta: np.ndarray, x: float, y: float) -> tuple[float, float]:
    radius = math.exp((1 - y) / 2 * math.log(1 / 16))
    return affine_at(theta, radius * math.cos(math.pi * x), radius * math.sin(math.pi * x))


def spline_at(theta: np.ndarray, x: float, y: float) -> tuple[float, float]:
    return tuple(RBFInterpolator(CONTROL, theta, kernel="thin_plate_spline", degree=1)([[x, y]])[0])


AT: dict[ThetaForm, Callable[[np.ndarray, float, float], tuple[float, float]]] = {
    ThetaForm.AFFINE: affine_at,
    ThetaForm.SIMILARITY: affine_at,
    ThetaForm.CROP: affine_at,
    ThetaForm.PROJECTIVE: projective_at,
    ThetaForm.POLAR: polar_at,
    ThetaForm.TPS: spline_at,
}


@pytest.mark.parametrize("form", ThetaForm)
@given(hw=st.tuples(st.integers(1, 12), st.integers(1, 12)), seed=seeds)
@settings(deadline=None, max_examples=25)
def test_a_grid_is_what_a_loop_computes(form: ThetaForm, hw: tuple[int, int], seed: int) -> None:
    theta = some_theta(form, seed)
    height, width = hw
    wanted = [
        [
            [AT[form](each, (2 * j + 1) / width - 1, (2 * i + 1) / height - 1) for j in range(width)]
            for i in range(height)
        ]
        for each in theta.double().numpy()
    ]
    found = grid(form, theta, hw).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@given(forms, sizes)
@settings(deadline=None)
def test_the_identity_of_a_form_is_the_whole_image(form: ThetaForm, hw: tuple[int, int]) -> None:
    theta = torch.from_numpy(identity_theta(form))[None]
    found = grid(form, theta, hw)
    if form is ThetaForm.POLAR:
        assert float(found.square().sum(-1).max()) <= 1 + 1e-6
        return
    torch.testing.assert_close(found, grid(ThetaForm.AFFINE, torch.eye(2, 3)[None], hw), rtol=0, atol=1e-5)


@given(forms, sizes, sizes, seeds)
@settings(deadline=None, max_examples=60)
def test_numpy_makes_the_crop_that_the_backbone_gets(
    form: ThetaForm, image_hw: tuple[int, int], crop_hw: tuple[int, int], seed: int
) -> None:
    crop_hw = (min(crop_hw[0], image_hw[0]), min(crop_hw[1], image_hw[1]))
    pixels = np.random.default_rng(seed).integers(0, 256, (*image_hw, 3), dtype=np.uint8)
    mean, std = torch.tensor((0.2, 0.5, 0.9)), torch.tensor((0.1, 0.2, 0.3))
    contract = Contract(Loc.STN, "cnn", image_hw, ("a",), tuple(mean.tolist()), theta=form, crop_hw=crop_hw)
    theta = some_theta(form, seed, 1)
    images = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(2, 0, 1)[None]
    seen = Transformer(torch.nn.Identity(), image_hw, crop_hw=crop_hw, form=form).warp(images, theta)
    expected = 255 * (seen[0].permute(1, 2, 0) * std + mean).numpy()
    difference = np.abs(crop_image(pixels, theta[0].numpy(), sampling_of(contract)) - expected)
    # Pillow, which samples affine crops, walks in fixed point and cuts to whole gray levels.
    affine = theta.shape[1:] == (2, 3) and form is not ThetaForm.POLAR
    assert np.quantile(difference, 0.95) <= (2 if affine else 1.1)
    assert np.median(difference) <= 1


@given(forms, seeds)
@settings(deadline=None)
def test_torch_and_numpy_find_the_same_landmarks_and_frame(form: ThetaForm, seed: int) -> None:
    theta = some_theta(form, seed)
    half = torch.tensor([HW[1] / 2, HW[0] / 2])
    np.testing.assert_allclose((landmarks(theta) + 1) * half, landmarks_px(theta.numpy(), HW), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(frame(theta), frame_of(theta.numpy()), rtol=1e-4, atol=1e-5)


def whole(theta: torch.Tensor) -> torch.Tensor:
    """(N, 2, 3) or (N, 3, 3) -> (N, 3, 3)."""
    last = torch.tensor([0.0, 0, 1], dtype=theta.dtype).expand(len(theta), 1, 3)
    return torch.cat([theta[:, :2], theta[:, 2:] if theta.shape[1] == 3 else last], dim=1)


@given(forms, seeds)
@settings(deadline=None)
def test_the_frame_moves_as_the_picture_does(form: ThetaForm, seed: int) -> None:
    """A picture moved by A is read by a crop that follows at A theta(p), and its frame is A times the one before."""
    theta = some_theta(form, seed, spread=0.15).double()
    move = torch.tensor([[0.8, -0.5, 0.1], [0.5, 0.7, -0.2], [0, 0, 1]]).double()
    if form is ThetaForm.TPS:
        answered = theta @ move[:2, :2].T + move[:2, 2]
    else:
        answered = (move if form is ThetaForm.PROJECTIVE else move[:2]) @ whole(theta)
    wanted = compose(move[:2].expand(2, 2, 3), frame(theta))
    torch.testing.assert_close(frame(answered), wanted, rtol=1e-9, atol=1e-9)


def test_of_a_frame_that_is_no_affine_matrix_it_is_the_nearest() -> None:
    """As numpy's least squares finds it."""
    theta = some_theta(ThetaForm.TPS, 0, 1).double().numpy()
    solved, *_ = np.linalg.lstsq(np.column_stack([CONTROL, np.ones(16)]), theta[0], rcond=None)
    np.testing.assert_allclose(frame_of(theta)[0], solved.T, atol=1e-9)


def test_two_projective_warps_are_one() -> None:
    outer, inner = some_theta(ThetaForm.PROJECTIVE, 1).double(), some_theta(ThetaForm.PROJECTIVE, 2).double()
    torch.testing.assert_close(compose(outer, inner), outer @ inner)
    points = torch.tensor([[0.3, -0.8], [-0.5, 0.1]]).double()
    first = [projective_at(inner[0].numpy(), x, y) for x, y in points.tolist()]
    twice = [projective_at(outer[0].numpy(), x, y) for x, y in first]
    found = [projective_at(compose(outer, inner)[0].numpy(), x, y) for x, y in points.tolist()]
    np.testing.assert_allclose(found, twice, atol=1e-12)


@pytest.mark.parametrize("form", [ThetaForm.TPS, ThetaForm.POLAR])
def test_warps_that_do_not_add_up_look_once(form: ThetaForm) -> None:
    with pytest.raises(UsageError, match=f"theta {form.value} looks once"):
        SpatialTransformer("stn", image_hw=(28, 28), theta=form, iterations=2)


@pytest.mark.parametrize("form", [ThetaForm.TPS, ThetaForm.POLAR])
def test_a_crop_that_would_take_gigabytes_is_refused(form: ThetaForm) -> None:
    with pytest.raises(UsageError, match="a crop of 2048 x 1024 pixels is too large"):
        SpatialTransformer("glance", image_hw=(2048, 1024), theta=form)
    assert constant_of(ThetaForm.AFFINE, (8192, 8192), (8192, 8192)) is None


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=8))
def test_no_point_of_a_projective_crop_lies_at_infinity(numbers: list[float]) -> None:
    theta = FORMS[ThetaForm.PROJECTIVE].theta(torch.tensor([numbers]))[0]
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    assert float((corners @ theta[2]).min()) >= 0.0999
    assert theta[2, 2] == 1


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3))
def test_a_disc_has_its_centre_in_the_frame_and_a_third_to_three_times_its_size(numbers: list[float]) -> None:
    theta = FORMS[ThetaForm.POLAR].theta(torch.tensor([numbers]))[0]
    assert theta[0, 0] == theta[1, 1]
    assert theta[0, 1] == theta[1, 0] == 0
    assert 1 / 3 - 1e-5 <= float(theta[0, 0]) <= 3 + 1e-5
    assert float(theta[:, 2].abs().max()) <= 1


@pytest.mark.parametrize("form", [ThetaForm.PROJECTIVE, ThetaForm.TPS, ThetaForm.POLAR])
def test_a_new_localizer_of_any_form_begins_at_the_identity(form: ThetaForm) -> None:
    layer = SpatialTransformer("stn", image_hw=(28, 28), theta=form)
    theta = layer.localize(torch.rand(2, 3, 28, 28))
    torch.testing.assert_close(theta, torch.from_numpy(identity_theta(form)).expand_as(theta), rtol=0, atol=1e-6)


@pytest.mark.parametrize("image_hw", [(33, 33), (33, 55), (47, 33)])
def test_a_turned_picture_is_a_log_polar_crop_moved_sideways(image_hw: tuple[int, int]) -> None:
    """A quarter turn clockwise takes what lies to the right to the bottom, a quarter of the columns further on; in
    pixels, so that of an oblong picture the middle square is turned."""
    height, width = image_hw
    side, picture = min(image_hw), torch.zeros(1, 1, *image_hw)
    top, left = (height - side) // 2, (width - side) // 2
    middle = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    layer = Transformer(torch.nn.Identity(), image_hw, crop_hw=(16, 32), form=ThetaForm.POLAR)
    seen = []
    for square in (middle, middle.rot90(-1, (2, 3))):
        picture[:, :, top : top + side, left : left + side] = square
        seen.append(layer.warp(picture, torch.eye(2, 3)[None]))
    torch.testing.assert_close(seen[1], seen[0].roll(8, 3), rtol=0, atol=1e-5)


def test_drift_of_a_spline_is_that_of_the_point_that_moved_most() -> None:
    theta = identity_theta(ThetaForm.TPS)
    other = theta.copy()
    other[5] += [0.1, 0.0]
    assert drift_px(other[None], theta[None], (20, 40)) == pytest.approx([0.1 * 20])


@pytest.mark.parametrize("form", ThetaForm)
def test_gradients_reach_every_number_of_a_form(form: ThetaForm) -> None:
    bounds = FORMS[form]
    numbers = (torch.tensor(bounds.start) + 0.1).repeat(1, 1).requires_grad_()
    layer = Transformer(torch.nn.Identity(), (16, 16), form=form)
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    layer.warp(images, bounds.theta(numbers)).square().sum().backward()
    assert numbers.grad is not None
    assert bool((numbers.grad != 0).all())


def test_a_contract_of_each_form_says_the_shape_of_its_theta() -> None:
    contract = Contract(Loc.STN, "cnn", HW, ("a", "b"))
    for form in ThetaForm:
        assert replace(contract, theta=form).theta_shape == some_theta(form, 0, 1).shape[1:]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_point_that_is_no_number_is_outside_as_torchs_sampler_has_it(value: float) -> None:
    theta = identity_theta(ThetaForm.TPS)
    theta[0, 0] = value
    pixels = np.full((8, 8, 3), 255, np.uint8)
    contract = Contract(Loc.STN, "cnn", (8, 8), ("a",), theta=ThetaForm.TPS)
    seen = crop_image(pixels, theta, sampling_of(contract))
    assert (seen == sampling_of(contract).outside).all()
