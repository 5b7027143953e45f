"""Optimizers and gradient accumulation, against torch's own and against larger batches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from short_runs import assert_same_weights, options, run, weights_of, without_time
from torch import nn

from lstn.contract import Contract, Loc
from lstn.nn.checkpoint import CHECKPOINT
from lstn.nn.classifier import Classifier
from lstn.recipe import RECIPES, OptimizerName, Recipe
from lstn.train.choices.recipe_changes import RecipeChanges, TrainingChanges, recipe_for
from lstn.train.optimizer import make_optimizer

RATE, LOC_SCALE, DECAY = 0.05, 0.5, 0.1


def model(loc: Loc = Loc.STN) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Contract(loc, "cnn", (32, 32), ("a", "b")))


def recipe(**changes: object) -> Recipe:
    chosen = {"batch_size": 4, "patience": 10, "lr": RATE, "loc_lr_scale": LOC_SCALE}
    return Recipe(**chosen | changes)  # type: ignore[arg-type]


def torchs(name: OptimizerName, weights: list[nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=0.9, weight_decay=decay)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](weights, lr=rate, weight_decay=decay)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_it_steps_like_torchs_own(name: OptimizerName, decay: float) -> None:
    """One optimizer of torch's for each weight, with decay where the weight has two dimensions."""
    ours, theirs = model(), model()
    optimizer = make_optimizer(ours, recipe(optimizer=name, weight_decay=decay))
    rates = [(theirs.backbone, RATE), (theirs.transformer, RATE * LOC_SCALE)]
    each = [
        torchs(name, [weight], rate, decay if weight.ndim > 1 else 0.0)
        for part, rate in rates
        if part is not None
        for weight in part.parameters()
    ]
    for _ in range(3):
        for weight, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
            weight.grad = torch.randn_like(weight)
            twin.grad = weight.grad.clone()
        optimizer.step()
        for other in each:
            other.step()
    for weight, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight, twin, rtol=1e-6, atol=1e-7)


def test_decay_leaves_the_identity_of_a_new_localizer() -> None:
    """It is in the bias of the last layer; without it the crop would shrink to a point."""
    ours = model()
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    before = ours.eval().transform(pixels)[1]
    optimizer = make_optimizer(ours, recipe(optimizer="adamw", weight_decay=DECAY))
    for _ in range(20):
        for weight in ours.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert before is not None
    torch.testing.assert_close(ours.transform(pixels)[1], before)


def test_without_decay_weights_are_grouped_as_in_runs_from_before() -> None:
    """A state names a weight by its place in the groups."""
    ours = model()
    assert ours.transformer is not None
    order = [*ours.backbone.parameters(), *ours.transformer.parameters()]
    for name in ("adam", "sgd"):
        groups = make_optimizer(ours, recipe(optimizer=name)).param_groups
        assert [len(group["params"]) for group in groups] == [
            len(list(part.parameters())) for part in (ours.backbone, ours.transformer)
        ]
        assert all(one is other for one, other in zip((w for g in groups for w in g["params"]), order, strict=True))


def test_usual_rates_and_decays() -> None:
    """SGD's rate is that of torchvision's references, 0.1 for 256 images, for about 32."""
    robust = RECIPES["robust"]
    sgd = recipe_for("robust", "resnet-18", RecipeChanges(training=TrainingChanges(optimizer="sgd")))
    assert (sgd.lr, sgd.weight_decay) == (pytest.approx(0.01), 0.0)
    assert sgd.lr == pytest.approx(0.1 * robust.batch_size / 256, rel=0.25)
    adamw = recipe_for("robust", "resnet-18", RecipeChanges(training=TrainingChanges(optimizer="adamw")))
    usual = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    assert (adamw.lr, adamw.weight_decay) == (robust.lr, usual.defaults["weight_decay"])
    given = recipe_for(
        "robust", "resnet-18", RecipeChanges(lr=0.3, training=TrainingChanges(optimizer="sgd", weight_decay=0.2))
    )
    assert (given.lr, given.weight_decay) == (0.3, 0.2)
    assert recipe_for("robust", "resnet-18") == robust


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_a_run_that_stopped_ends_with_the_same_weights(
    name: OptimizerName, decay: float, data: str, tmp_path: Path
) -> None:
    asked = options(data, epochs=3, loc=Loc.STN, optimizer=name, weight_decay=decay, label_smoothing=0.1, accumulate=2)
    whole = run(asked, tmp_path / "whole")
    run(replace(asked, epochs=1), tmp_path / "parts")
    parts = run(asked, tmp_path / "parts", resume=True)
    assert without_time(parts.history) == without_time(whole.history)
    for file in ("last.safetensors", CHECKPOINT):
        assert_same_weights(weights_of(tmp_path / "parts", file), weights_of(tmp_path / "whole", file))


@pytest.mark.parametrize(("batch", "times"), [(8, 2), (4, 4), (10, 2)])
def test_accumulated_batches_are_one_large_batch(batch: int, times: int, data: str, tmp_path: Path) -> None:
    """Without BatchNorm, and with SGD, which doesn't divide what is left of a gradient by its size. 48 images: of
    batches of 10 the last steps are of 20, 20 and 8."""
    small = options(data, loc=Loc.STN, optimizer="sgd", lr=0.01, cosine=True, epochs=2)
    one = replace(small, recipe=replace(small.recipe, batch_size=batch * times))
    several = replace(small, recipe=replace(small.recipe, batch_size=batch, accumulate=times))
    results = [run(one, tmp_path / "one"), run(several, tmp_path / "several")]
    whole, parts = (weights_of(tmp_path / name) for name in ("one", "several"))
    assert {name for name in whole if "running" in name} == set()
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=1e-6, atol=1e-6)
    for row, other in zip(*(result.history for result in results), strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
