"""The loss of where readers and aligners look, by places and boxes that are worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from lstn.contract import Loc, Task, ThetaForm
from lstn.nn.recurrent_localizer import Glimpses
from lstn.train.choices.asked_run import ChosenNetwork, Course
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges, TransformerChanges
from lstn.train.computing.distributed import ALONE
from lstn.train.objectives.glimpse_loss import glimpse_loss

SIDE = 128
PLACES = torch.tensor([[-0.5, 0.0], [0.5, 0.0]])


def loss(box: tuple[float, ...], attention: tuple[float, float], poses: Tensor, form: ThetaForm) -> float:
    """The loss of one image with one step; the attention as weights of the two places."""
    options = choose_options(
        "robust",
        RecipeChanges(transformer=TransformerChanges(theta=form)),
        ChosenNetwork(loc=Loc.GLANCE, model="cnn", task=Task.READ),
        Course(data="numbers-digits", augment="none", epochs=None, precision="fp32"),
    )
    logs = torch.tensor([[attention]]).log()
    found = Glimpses(torch.tensor([[box]]), torch.zeros(1, 1, 2), logs, PLACES)
    return float(glimpse_loss(found, poses, options, 1, ALONE))


def pose(degrees: float, half: float = 0.25) -> Tensor:
    """A square in the middle, turned counter-clockwise."""
    cos, sin = half * math.cos(math.radians(degrees)), half * math.sin(math.radians(degrees))
    return torch.tensor([[[[cos, sin, 0.0], [-sin, cos, 0.0]]]])


def test_looking_elsewhere_costs_although_the_box_is_right() -> None:
    """Both places are as far from the middle, so half of the attention each is wanted: ln 2, and more of any other."""
    box = (SIDE / 2, SIDE / 2, SIDE / 4, SIDE / 4, 0.0)
    assert loss(box, (0.5, 0.5), pose(0), ThetaForm.AFFINE) == pytest.approx(math.log(2), abs=1e-5)
    uneven = -(math.log(0.9) + math.log(0.1)) / 2
    assert loss(box, (0.9, 0.1), pose(0), ThetaForm.AFFINE) == pytest.approx(uneven, abs=1e-5)


def test_of_a_crop_that_cannot_turn_the_upright_box_around_is_wanted() -> None:
    around = SIDE / 4 * math.sqrt(2)
    box = (SIDE / 2, SIDE / 2, around, around, 0.0)
    assert loss(box, (0.5, 0.5), pose(45), ThetaForm.CROP) == pytest.approx(math.log(2), abs=1e-4)
    assert loss(box, (0.5, 0.5), pose(45), ThetaForm.AFFINE) > math.log(2) + 0.1
