"""Turned boxes: their numbers, their thetas, and back."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from lstn.contract import ThetaForm
from lstn.data.poses import pose_from_box
from lstn.nn.turned_boxes import boxes_of, difference, moved_boxes, numbers_of, thetas_of, upright
from lstn.warps.warp import landmarks_px

HW = (120, 200)
_places = st.tuples(
    st.floats(-50, 250),
    st.floats(-50, 170),
    st.floats(3, 150),
    st.floats(3, 150),
    st.floats(-3.1, 3.1),
)


@given(_places)
def test_a_box_is_the_theta_of_its_pose_and_comes_back(place: tuple[float, ...]) -> None:
    x, y, width, height, angle = place
    theta = thetas_of(torch.tensor(place), HW)
    pose = pose_from_box((x, y), (width, height), math.degrees(angle), HW)
    np.testing.assert_allclose(theta.numpy(), pose.theta, atol=2e-5)
    np.testing.assert_allclose(boxes_of(theta, HW).numpy(), place, rtol=1e-4, atol=2e-3)


@given(_places, _places)
def test_what_differs_brings_one_box_to_the_other(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    boxes, others = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    found = moved_boxes(boxes, difference(boxes, others, 5))
    np.testing.assert_allclose(found[:4].numpy(), others[:4].numpy(), atol=1e-6)
    turned = float(found[4] - others[4])
    assert abs(math.remainder(turned, 2 * math.pi)) < 1e-9


@given(
    st.lists(st.tuples(st.floats(1, 99), st.floats(1, 99), st.floats(2, 90), st.floats(2, 90)), min_size=2, max_size=6)
)
def test_numbers_of_upright_boxes_are_those_of_torchvision(places: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor([(*place, 0.0) for place in places])
    others = boxes.roll(1, dims=0)
    found = difference(boxes, others, numbers_of(ThetaForm.CROP))
    wanted = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(upright(others), upright(boxes))
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=2e-3, atol=2e-3)
    back = BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(found, upright(boxes))
    np.testing.assert_allclose(upright(moved_boxes(boxes, found)).numpy(), back.numpy(), rtol=1e-3, atol=1e-2)


def test_a_turned_box_is_shifted_along_its_own_axes() -> None:
    box = torch.tensor([100.0, 60.0, 40.0, 20.0, math.pi / 2])  # turned counter-clockwise: its right points up
    half_a_side_right = torch.tensor([5.0, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(moved_boxes(box, half_a_side_right)[:2].numpy(), [100.0, 40.0], atol=1e-4)


@given(_places)
def test_the_upright_box_is_around_the_corners(place: tuple[float, ...]) -> None:
    box = torch.tensor(place)
    corners = landmarks_px(thetas_of(box, HW)[None].numpy(), HW)[0]
    around = [*corners.min(axis=0), *corners.max(axis=0)]
    np.testing.assert_allclose(upright(box).numpy(), around, atol=0.02)


def test_numbers_too_large_for_an_exponential_stay_finite() -> None:
    found = moved_boxes(torch.tensor([10.0, 10.0, 5.0, 5.0, 0.0]), torch.full((5,), 1e6))
    assert found.isfinite().all()
