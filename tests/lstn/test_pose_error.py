"""Pose figures, against brute force."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hand_made import ArraySplit
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.data.dataset import open_data
from lstn.data.poses import Pose, pose_from_box
from lstn.evaluation.measured_pose import measure_pose, pose_error
from lstn.images import Pixels
from lstn.warps.warp import Theta

HW = (60, 80)


def box(x: float, y: float, width: float, height: float, degrees: float) -> Theta:
    return pose_from_box((x, y), (width, height), degrees, HW).theta


def covered(theta: Theta, points: np.ndarray) -> np.ndarray:
    """Which points (N, 2) in pixels lie in the quadrilateral of theta."""
    square = np.vstack([theta.astype(float), [0, 0, 1]])
    unit = np.c_[points / [HW[1] / 2, HW[0] / 2] - 1, np.ones(len(points))]
    return np.abs((unit @ np.linalg.inv(square).T)[:, :2]).max(1) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_overlap_is_that_of_rasters(seed: int) -> None:
    """Crops of any shear, mirrored too, against points half a pixel apart, in and around the picture."""
    rng = np.random.default_rng(seed)
    pose = box(*rng.uniform(20, 45, 2), *rng.uniform(10, 40, 2), rng.uniform(-180, 180))
    crop = (pose + rng.normal(0, 0.2, (2, 3))).astype(np.float32)
    if abs(np.linalg.det(crop[:, :2])) < 0.01:
        return
    across, down = np.meshgrid(np.arange(-60, 140, 0.5) + 0.25, np.arange(-60, 120, 0.5) + 0.25)
    points = np.c_[across.ravel(), down.ravel()]
    one, other = covered(crop, points), covered(pose, points)
    found = pose_error(crop[None], pose[None], [0], HW)
    assert found is not None
    assert found["overlap"] == pytest.approx((one & other).sum() / (one | other).sum(), abs=0.02)


def test_a_perfect_crop_has_no_error_and_one_far_away_all_of_it() -> None:
    poses = np.stack([box(30 + n, 30, 20, 20, 10 * n) for n in range(6)])
    exact = pose_error(poses, poses, [0] * 6, HW)
    assert exact is not None
    assert exact["images"] == 6
    assert exact["rotation_deg"] == pytest.approx(0, abs=0.1)
    assert exact["centre_px"] == exact["centre_share"] == pytest.approx(0, abs=1e-4)
    assert exact["overlap"] == pytest.approx(1, abs=1e-4)
    far = pose_error(poses + np.float32([[0, 0, 9], [0, 0, 9]]), poses, [0] * 6, HW)
    assert far is not None
    assert far["overlap"] == 0


def test_centres_are_in_pixels_of_the_picture_and_in_sides_of_the_object() -> None:
    poses = np.stack([box(40, 30, 20, 5, 30)] * 3)
    found = pose_error(np.stack([box(43, 34, 20, 5, 30)] * 3), poses, [0] * 3, HW)
    assert found is not None
    assert found["centre_px"] == pytest.approx(5, abs=1e-3)
    assert found["centre_share"] == pytest.approx(0.5, abs=1e-3)  # of a side of sqrt(20 * 5)


def test_a_slant_that_a_class_has_in_all_crops_is_taken_out() -> None:
    """Also around half a turn, where a mean of degrees would go wrong; and only the class's own."""
    rng = np.random.default_rng(0)
    slants, noise = {0: 15.0, 1: 178.0, 2: -178.0}, rng.uniform(-8, 8, 60)
    labels = [n % 3 for n in range(60)]
    turned = rng.uniform(-180, 180, 60)
    poses = np.stack([box(40, 30, 24, 16, each) for each in turned])
    crops = np.stack(
        [
            box(40, 30, 30, 30, each + slants[label] + off)
            for each, label, off in zip(turned, labels, noise, strict=True)
        ]
    )
    found = pose_error(crops, poses, labels, HW)
    assert found is not None
    left = []
    for n in range(60):
        others = [m for m in range(60) if m != n and labels[m] == labels[n]]
        left.append(abs(noise[n] - noise[others].mean()))
    assert found["rotation_deg"] == pytest.approx(np.median(left), abs=0.3)


def test_a_crop_that_ignores_the_turn_keeps_it() -> None:
    rng = np.random.default_rng(1)
    poses = np.stack([box(40, 30, 20, 20, each) for each in rng.uniform(-45, 45, 400)])
    found = pose_error(np.stack([box(40, 30, 80, 60, 0)] * 400), poses, [n % 10 for n in range(400)], HW)
    assert found is not None
    assert found["rotation_deg"] == pytest.approx(22.5, abs=2.5)


def test_no_known_pose_is_no_error_and_a_single_image_has_no_slant() -> None:
    pose = box(40, 30, 20, 20, 30)
    unknown = np.full((1, 2, 3), np.nan, np.float32)
    assert pose_error(pose[None], unknown, [0], HW) is None
    found = pose_error(np.stack([pose] * 3), np.concatenate([unknown, pose[None], pose[None]]), [0, 1, 2], HW)
    assert found is not None
    assert found["images"] == 2
    assert found["rotation_deg"] is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 0.0])
def test_a_wild_crop_is_a_large_error_that_json_can_say(value: float) -> None:
    poses = np.stack([box(40, 30, 20, 20, 30)] * 2)
    found = pose_error(np.full((2, 2, 3), value, np.float32), poses, [0, 0], HW)
    assert found is not None
    assert found["overlap"] == 0
    json.dumps(found, allow_nan=False)


@dataclass(frozen=True)
class PosedSplit(ArraySplit):
    def pose(self, index: int) -> Pose | None:
        return Pose(box(40, 30, 20, 20, index)) if index % 2 else None


def test_only_images_with_a_pose_are_shown_to_the_model() -> None:
    split = PosedSplit(np.arange(7, dtype=np.uint8)[:, None, None, None] + np.zeros((1, *HW, 3), np.uint8), (0,) * 7)

    def locate(pixels: Pixels) -> Theta:
        assert len(pixels) <= 2
        return np.stack([box(40, 30, 20, 20, int(image[0, 0, 0])) for image in pixels])

    found = measure_pose(locate, split, batch=2)
    assert found is not None
    assert found["images"] == 3
    assert found["overlap"] == pytest.approx(1, abs=1e-3)
    assert measure_pose(locate, ArraySplit(split.pixels, split.labels), batch=2) is None


def test_the_embedded_digits_say_their_poses_to_whoever_measures() -> None:
    split = open_data("digits", image_hw=(32, 32)).test
    found = measure_pose(lambda pixels: np.tile(np.eye(2, 3, dtype=np.float32), (len(pixels), 1, 1)), split, batch=64)
    assert found is not None
    assert found["images"] == 1000
    assert found["rotation_deg"] == pytest.approx(22.5, abs=2)
