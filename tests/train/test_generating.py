"""Training of a generator: its loss by hand, who learns from what, runs of seconds, and runs that are resumed."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from short_runs import assert_same_weights, options, run, weights_of, without_time

from lstn.contract import Contract, Loc, Task, ThetaForm
from lstn.errors import UsageError
from lstn.nn.checkpoint import CHECKPOINT, load_checkpoint
from lstn.nn.generation.adversarial_network import AdversarialNetwork
from lstn.nn.generation.generator import Generator
from lstn.synthesis.generation_scores import GenerationScores
from lstn.train.batches.loading import ImageBatch
from lstn.train.choices.asked_run import ChosenNetwork, Course, Guidance
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges, TrainingChanges, TransformerChanges
from lstn.train.computing.distributed import ALONE
from lstn.train.objectives.adversarial_objective import MASK, R1, AdversarialObjective
from lstn.train.runs.options import Options

GENERATOR = {"task": Task.GENERATE, "loc": Loc.GLANCE, "model": "dcgan", "crop": (16, 16), "loc_lr_scale": 1.0}
CONTRACT = Contract(
    Loc.GLANCE, "dcgan", (16, 16), ("a", "b"), task=Task.GENERATE, noise=4, crop_hw=(8, 8), view_hw=(8, 8)
)


@pytest.fixture
def model() -> Generator:
    torch.manual_seed(0)
    return Generator(CONTRACT)


@pytest.fixture
def batch() -> ImageBatch:
    torch.manual_seed(1)
    return ImageBatch(torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8), torch.tensor([0, 1, 1]))


def test_the_loss_is_that_of_both_and_the_slope_at_real_images(model: Generator, batch: ImageBatch) -> None:
    """In float64 and image by image, with the logistic function written out."""
    objective = AdversarialObjective()
    torch.manual_seed(5)
    found = objective.loss(AdversarialNetwork(model), batch, options("digits", **GENERATOR), 3, ALONE)
    torch.manual_seed(5)
    painted = model.paint(torch.randn(3, 4), batch.labels)
    judged = model.discriminator.double()
    d_loss, g_loss, slope = 0.0, 0.0, 0.0
    for row, label in enumerate(batch.labels.tolist()):
        image = model.normalise(batch.pixels)[row].double().requires_grad_()
        real = judged(image[None])[0, label]
        (gradient,) = torch.autograd.grad(real, image)
        slope += float(gradient.square().sum()) / 3
        fake = judged(model.standardise(painted.pictures)[row][None].double())[0, label]
        d_loss += (torch.log(1 + torch.exp(-real)) + torch.log(1 + torch.exp(fake))).item() / 3
        g_loss += torch.log(1 + torch.exp(-fake)).item() / 3
    assert painted.mask is not None
    assert found.told.item() == pytest.approx(d_loss, rel=1e-5)
    assert found.loss.item() == pytest.approx(
        d_loss + g_loss + R1 / 2 * slope + MASK * painted.mask.mean().item(), rel=1e-5
    )


def test_each_goes_down_its_own_gradient(model: Generator, batch: ImageBatch) -> None:
    """The discriminator's gradient is that of its loss alone, as if the pictures were given; the generator's is that of
    being taken for real alone, as if the discriminator were."""
    objective, given = AdversarialObjective(), options("digits", **GENERATOR)
    torch.manual_seed(5)
    objective.loss(AdversarialNetwork(model), batch, given, 3, ALONE).loss.backward()  # type: ignore[no-untyped-call]
    together = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    assert set(together) == {name for name, _ in model.named_parameters()}

    model.zero_grad()
    torch.manual_seed(5)
    found = AdversarialNetwork(model)(batch.pixels, batch.labels)
    alone = torch.nn.functional.softplus(-found.fooled).mean() + MASK * found.mask
    alone.backward()
    for name, weight in model.named_parameters():
        if name.startswith("discriminator."):
            assert weight.grad is None
        else:
            torch.testing.assert_close(weight.grad, together[name])


def test_a_run_leaves_samples_figures_and_both_networks(data: str, tmp_path: Path) -> None:
    result = run(options(data, **GENERATOR, epochs=2), tmp_path / "run")
    assert isinstance(result.scores, GenerationScores)
    assert 0 <= result.test_accuracy <= 1
    for epoch in (1, 2):
        with Image.open(tmp_path / f"run/samples/epoch-{epoch:04d}.png") as sheet:
            assert sheet.size == (2 * 33 + 1, 8 * 33 + 1)
    *rows, last = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"train_told_apart", "val_taken_for_real", "generator"} <= set(rows[0])
    assert rows[0]["generator"]["state"] == "starting"
    assert last["test_taken_for_real"] == result.test_accuracy
    checkpoint = load_checkpoint(tmp_path / "run" / CHECKPOINT)
    assert isinstance(checkpoint.model, Generator)
    assert checkpoint.contract.noise == 64
    assert checkpoint.training.data == data


def test_a_run_that_is_resumed_ends_with_the_same_weights(few: str, tmp_path: Path) -> None:
    whole = run(options(few, **GENERATOR, epochs=3), tmp_path / "whole")
    run(options(few, **GENERATOR, epochs=1), tmp_path / "two")
    again = run(options(few, **GENERATOR, epochs=3), tmp_path / "two", resume=True)
    assert_same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "two"))
    assert without_time(whole.history) == without_time(again.history)


@pytest.mark.parametrize("changes", [{"loc": Loc.NONE, "crop": None}, {"theta": ThetaForm.CROP}, {"accumulate": 2}])
def test_other_generators_train(few: str, tmp_path: Path, changes: dict[str, object]) -> None:
    result = run(options(few, **GENERATOR | changes, epochs=1), tmp_path / "run")
    assert torch.isfinite(torch.tensor(result.history[0]["train_loss"]))
    assert isinstance(result.scores, GenerationScores)
    assert (result.scores.variety["spread_px"] is None) == (changes.get("loc") is Loc.NONE)


def test_a_step_of_one_image_is_refused(tmp_path: Path, few: str) -> None:
    with pytest.raises(UsageError, match="can't train on one image"):
        run(options(few, **GENERATOR, batch_size=1), tmp_path / "run")


def chosen(
    changes: RecipeChanges | None = None,
    network: dict[str, object] | None = None,
    course: dict[str, object] | None = None,
) -> Options:
    return choose_options(
        "robust",
        RecipeChanges() if changes is None else changes,
        ChosenNetwork(**{"loc": Loc.GLANCE, "model": "dcgan", "task": Task.GENERATE, **(network or {})}),  # type: ignore[arg-type]
        Course(**{"data": "digits", "augment": "none", "epochs": None, "precision": "fp32", **(course or {})}),  # type: ignore[arg-type]
    )


def test_what_a_generator_usually_has() -> None:
    found = chosen()
    assert (found.image_size, found.crop, found.recipe.loc_lr_scale) == ((44, 44), (32, 32), 1.0)
    assert found.contract(("0", "1")).noise == 64
    assert chosen(network={"loc": Loc.NONE}).crop is None
    assert chosen(course={"epochs": 3}).epochs == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"changes": RecipeChanges(transformer=TransformerChanges(equivariance=1.0))}, "--equivariance is for models"),
        ({"changes": RecipeChanges(training=TrainingChanges(label_smoothing=0.1))}, "--label-smoothing is for models"),
        ({"changes": RecipeChanges(training=TrainingChanges(freeze=1))}, "--freeze"),
        ({"course": {"guide": Guidance(supervise=1.0)}}, "--supervise is for models that classify"),
        ({"course": {"augment": "affine"}}, "would learn to paint images that are changed so"),
        ({"course": {"precision": "bf16"}}, "trained in fp32"),
        ({"network": {"weights": "imagenet"}}, "--weights is for models that classify, and this one generates"),
        ({"network": {"warps": 2}}, "a generator of 2 objects"),
        ({"network": {"loc": Loc.SHARED}}, "a generator of loc shared"),
    ],
)
def test_what_a_generator_has_not_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen(**given)  # type: ignore[arg-type]
