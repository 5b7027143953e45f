"""Recipes: each option against what it says, worked out by hand or by torch's own."""

import json
import math
import typing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from lstn.contract import At, Contract, Loc, ThetaForm
from lstn.errors import ArtifactError
from lstn.nn.classifier import Classifier
from lstn.recipe import RECIPES, Recipe, RecipeName
from lstn.train.choices.asked_run import ChosenNetwork, Course, Guidance, NetworkSizes
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges, TransformerChanges
from lstn.train.choices.task_choices import usual_recipe
from lstn.train.objectives.classifier_objective import outside
from lstn.train.optimizer import make_optimizer, set_rate
from lstn.train.runs.options import Options

PLAIN = RECIPES["paper"]


def model(loc: Loc = Loc.LSTN) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Contract(loc, "cnn", (32, 32), ("a", "b")))


def recipe(**changes: object) -> Recipe:
    return Recipe(**{"batch_size": 4, "patience": 10, "lr": 0.1, "loc_lr_scale": 0.5} | changes)  # type: ignore[arg-type]


def test_every_recipe_is_there() -> None:
    assert set(RECIPES) == set(typing.get_args(RecipeName))


def test_the_papers_is_plain_adam() -> None:
    """paper_tables.json, `training`."""
    assert Recipe(batch_size=16, patience=10, lr=0.001, loc_lr_scale=1.0) == PLAIN
    groups = make_optimizer(model(), PLAIN).param_groups
    assert all((group["lr"], group["betas"], group["weight_decay"]) == (0.001, (0.9, 0.999), 0) for group in groups)


def test_the_optimizer_is_adam_to_the_bit() -> None:
    one, other = model(), model()
    ours = make_optimizer(one, recipe(loc_lr_scale=1.0))
    torchs = torch.optim.Adam(other.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        for weight, twin in zip(one.parameters(), other.parameters(), strict=True):
            weight.grad = torch.randn_like(weight)
            twin.grad = weight.grad.clone()
        ours.step()
        torchs.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@given(epochs=st.integers(1, 50), data=st.data())
def test_cosine_is_torchs(epochs: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(0, epochs))
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": 0.3, "full_lr": 0.3}])
    torchs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = CosineAnnealingLR(torchs, epochs)
    for _ in range(steps):
        torchs.step()
        scheduler.step()
    set_rate(optimizer, recipe(cosine=True), steps, steps / epochs)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(torchs.param_groups[0]["lr"], abs=1e-9)


def test_the_rate_warms_up_and_each_group_keeps_its_share() -> None:
    optimizer = make_optimizer(model(), recipe(warmup_epochs=2.0))
    seen = []
    for done in (0.5, 1.0, 2.0, 9.0):
        set_rate(optimizer, recipe(warmup_epochs=2.0), done, done / 10)
        seen.append([group["lr"] for group in optimizer.param_groups])
    assert seen == [[pytest.approx(0.1 * f), pytest.approx(0.05 * f)] for f in (0.25, 0.5, 1, 1)]


@pytest.mark.parametrize(
    ("theta", "wanted"),
    [
        ([[1, 0, 0], [0, 1, 0]], 0),
        ([[0.5, 0, 0.5], [0, 0.5, -0.5]], 0),
        ([[2, 0, 0], [0, 1, 0]], 0.5),  # all four corners are one half side out
        ([[1, 0, 1], [0, 1, 0]], 0.25),  # two of them are
        ([[1, 0, 3], [0, 1, 0]], 2.5),  # x = 2 and 4: distances 1 and 3, of two corners each
        ([[2, 0, 0], [0, 2, 0]], 1),  # all four are the square root of two out
    ],
)
def test_the_penalty_is_half_the_squared_way_out_of_the_frame(theta: list[list[float]], wanted: float) -> None:
    assert float(outside(torch.tensor([theta], dtype=torch.float32))) == pytest.approx(wanted)


@given(st.lists(st.lists(st.floats(-3, 3, width=32), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_penalty_is_that_of_a_plain_loop_over_the_corners(thetas: list[list[float]]) -> None:
    squares = []
    for a, b, c, d, e, f in thetas:
        for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            corner = (a * x + b * y + c, d * x + e * y + f)
            nearest = tuple(min(max(each, -1.0), 1.0) for each in corner)
            squares.append(math.dist(corner, nearest) ** 2)
    found = float(outside(torch.tensor(thetas).reshape(-1, 2, 3)))
    assert found == pytest.approx(sum(squares) / len(squares) / 2, rel=1e-4, abs=1e-6)


def test_the_penalty_pulls_back_into_the_frame() -> None:
    theta = torch.tensor([[[1.0, 0, 5], [0, 1, 0]]], requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        outside(theta).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(outside(theta.detach())) < 1e-4


OLD = {
    "loc": "stn", "model": "cnn", "data": "digits", "weights": "", "image_size": 32, "epochs": 3, "patience": 10,
    "batch_size": 16, "lr": 0.001, "loc_lr_scale": 0.1, "precision": "fp32", "seed": 0,
}  # fmt: skip


def test_options_from_before_recipes_mean_none_of_it() -> None:
    options = Options.from_json(json.dumps(OLD), source="test")
    assert options.recipe.theta is ThetaForm.AFFINE
    assert (options.recipe.warmup_epochs, options.recipe.in_frame, options.recipe.cosine) == (0, 0, False)
    assert options.recipe.equivariance == 0
    assert Options.from_json(options.to_json(), source="test") == options


def test_options_survive_json() -> None:
    fields = OLD | {"theta": "crop", "in_frame": 0.5, "cosine": True, "equivariance": 0.2}
    options = Options.from_json(json.dumps(fields), source="test")
    assert options.recipe.theta is ThetaForm.CROP
    assert Options.from_json(options.to_json(), source="test") == options


def test_a_run_of_release_0_1_goes_on_without_what_it_left_off() -> None:
    """Weight decay and clipping were numbers of a recipe that no command could set."""
    off = OLD | {"weight_decay": 0.0, "clip_norm": 0.0}
    assert Options.from_json(json.dumps(off), source="test") == Options.from_json(json.dumps(OLD), source="test")


@pytest.mark.parametrize(
    "fields",
    [{"theta": "sideways"}, {"option_of_tomorrow": 1}, {"weight_decay": 0.01}, {"clip_norm": 1.0}, {"recipe": {}}],
)
def test_options_of_another_version_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="can't be resumed by this version"):
        Options.from_json(json.dumps(OLD | fields), source="test")


def test_no_recipe_has_a_number_out_of_range() -> None:
    for one in RECIPES.values():
        assert all(value >= 0 and math.isfinite(value) for value in (one.lr, one.loc_lr_scale, one.in_frame))


def chosen(loc: Loc = Loc.LSTN, *, recipe: RecipeName = "robust", supervise: float = 0, **how: object) -> Recipe:
    network = {name: how.pop(name) for name in ("iterations", "warps", "at", "sizes") if name in how}
    changes = RecipeChanges(transformer=TransformerChanges(**how))  # type: ignore[arg-type]
    course = Course(data="digits", augment="none", epochs=None, precision="fp32", guide=Guidance(supervise))
    return choose_options(recipe, changes, ChosenNetwork(loc=loc, model="cnn", **network), course).recipe  # type: ignore[arg-type]


def test_an_lstn_is_trained_on_moved_pictures_by_itself() -> None:
    assert (chosen().equivariance, chosen().loc_lr_scale) == (10, 1)
    assert (chosen(loc_lr_scale=0.5).equivariance, chosen(loc_lr_scale=0.5).loc_lr_scale) == (10, 0.5)
    for weight in (0.0, 3.0):
        asked = chosen(equivariance=weight)
        assert (asked.equivariance, asked.loc_lr_scale) == (weight, RECIPES["robust"].loc_lr_scale)
    assert chosen() == usual_recipe("robust", Contract(Loc.LSTN, "cnn", (44, 44), ("a", "b")), 0.0)


@pytest.mark.parametrize(
    "otherwise",
    [
        {"loc": Loc.STN},
        {"loc": Loc.VSTN},
        {"loc": Loc.GLANCE},
        {"loc": Loc.NONE},
        {"recipe": "paper"},
        {"supervise": 1.0},
        {"iterations": 2},
        {"warps": 2},
        {"at": At.STEM},
        {"theta": ThetaForm.SIMILARITY},
        {"sizes": NetworkSizes(crop=(22, 22))},
    ],
)
def test_what_was_not_measured_is_as_the_recipe_has_it(otherwise: dict[str, object]) -> None:
    recipe = chosen(**otherwise)  # type: ignore[arg-type]
    own = RECIPES[otherwise.get("recipe", "robust")]  # type: ignore[index]
    assert (recipe.equivariance, recipe.loc_lr_scale) == (0, own.loc_lr_scale)
