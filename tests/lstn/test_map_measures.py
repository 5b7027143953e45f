"""Measures of maps, on maps and models whose answers are known."""

import numpy as np
import pytest

from lstn.contract import ThetaForm
from lstn.data.dataset import open_data
from lstn.data.poses import pose_from_box, pose_of
from lstn.evaluation.answer import Logits
from lstn.explanation.explaining import explain
from lstn.explanation.map_measures import centre_prior, deletion_insertion, energy_inside, points_at, region_of
from lstn.explanation.methods import Method
from lstn.explanation.occlusion import window_for
from lstn.images import Pixels
from lstn.imaging.framing import BLACK
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.inference.explained_engine import explainable_engine
from lstn.warps.warp import Theta, identity_theta

HW = 20, 30
RECTANGLE = np.s_[4:10, 12:20]


def region() -> np.ndarray:
    found = np.zeros(HW, bool)
    found[RECTANGLE] = True
    return found


def test_the_region_of_a_pose_is_its_box() -> None:
    pose = pose_from_box((16, 7), (8, 6), 0, HW)
    assert (region_of(pose.theta, HW) == region()).all()
    assert region_of(identity_theta(ThetaForm.AFFINE), HW).all()


def test_the_pointing_game_counts_the_peak_and_energy_the_share() -> None:
    heat = np.zeros(HW)
    heat[5, 13], heat[0, 0], heat[1, 1] = 3, 1, -7
    assert points_at(heat, region()) == 1
    assert energy_inside(heat, region()) == pytest.approx(0.75)
    heat[0, 0] = 9
    assert points_at(heat, region()) == 0
    assert points_at(np.ones(HW), region()) == pytest.approx(48 / 600), "by chance"
    assert energy_inside(np.zeros(HW), region()) == 0


def test_the_centre_prior_peaks_in_the_middle() -> None:
    prior = centre_prior((21, 31))
    assert np.unravel_index(prior.argmax(), prior.shape) == (10, 15)
    assert prior[0, 0] < 0.05
    assert prior == pytest.approx(prior[::-1, ::-1])


def test_deletion_and_insertion_of_a_model_that_looks_at_one_rectangle() -> None:
    def answer(pixels: Pixels) -> tuple[Logits, Theta | None]:
        bright = pixels[:, RECTANGLE[0], RECTANGLE[1]].mean((1, 2, 3)) / 255
        return np.stack([20 * bright - 10, np.zeros(len(pixels))], 1).astype(np.float32), None

    white = np.full((*HW, 3), 255, np.uint8)
    right = deletion_insertion(answer, white, region().astype(float), 0, fill=BLACK)
    wrong = deletion_insertion(answer, white, -region().astype(float), 0, fill=BLACK)
    anyhow = deletion_insertion(answer, white, np.random.default_rng(0).random(HW), 0, fill=BLACK)
    assert right.deletion < 0.2 < anyhow.deletion < 0.8 < wrong.deletion
    assert right.insertion > 0.8 > anyhow.insertion > 0.2 > wrong.insertion


def test_occlusion_of_a_trained_engine_shows_the_object() -> None:
    """The digits of `zoo:digits`' own test images, whose places are known. All of them cover the middle."""
    images, hw = open_data("digits", image_hw=(44, 44)).test, (44, 44)
    label, warp, prior, by_map, by_chance = [], [], [], [], []
    with open_engine("zoo:digits", spin=False) as engine:
        model = explainable_engine(engine)
        for index in range(12):
            pixels, pose = images[index][0], pose_of(images, index)
            assert pose is not None
            place = region_of(pose.theta, hw)
            found = explain(model, pixels, [Method.OCCLUSION], window_for(hw, 8, 4), batch=64)
            label.append(energy_inside(found.maps[0].heat, place))
            warp.append(energy_inside(found.maps[1].heat, place))
            prior.append(energy_inside(centre_prior(hw), place))
            orders = (found.maps[0].heat, np.random.default_rng(index).random(hw))
            curves = [deletion_insertion(model.answer, pixels, order, found.label, fill=BLACK) for order in orders]
            by_map.append(curves[0])
            by_chance.append(curves[1])
    assert np.mean(label) > np.mean(prior) + 0.2
    assert np.mean(warp) > np.mean(prior) + 0.2
    assert np.mean([each.deletion for each in by_map]) < np.mean([each.deletion for each in by_chance]) - 0.02
    assert np.mean([each.insertion for each in by_map]) > np.mean([each.insertion for each in by_chance]) + 0.02
