"""Classes of different sizes: how often their images come up, and what they count."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from short_runs import assert_same_weights, options, run, weights_of

from lstn.contract import Loc, Task
from lstn.data.dataset import open_data
from lstn.errors import UsageError
from lstn.train.batches.augment import Augmentation
from lstn.train.batches.balancing import balanced_order, class_weights, labels_of
from lstn.train.batches.loading import Images, batches
from lstn.train.choices.asked_run import ChosenNetwork, Course, Guidance
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges, TrainingChanges
from lstn.train.computing.distributed import Shares, World

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def drawn(labels: torch.Tensor, seed: int) -> list[int]:
    return balanced_order(labels, torch.Generator().manual_seed(seed))


@given(labels=LABELS, seed=st.integers(0, 99))
def test_every_class_comes_up_alike_and_each_image_before_one_is_repeated(labels: list[int], seed: int) -> None:
    count = len(labels)
    order = drawn(torch.tensor(labels), seed)
    assert len(order) == count
    assert len(set(order)) == count, "a repetition has a number of its own"
    times = Counter(labels[number % count] for number in order)
    shares = [times[label] for label in set(labels)]
    assert max(shares) - min(shares) <= 1
    for label in set(labels):
        own = [place for place, each in enumerate(labels) if each == label]
        shown = Counter(number % count for number in order)
        of_class = [shown[place] for place in own]
        assert max(of_class) - min(of_class) <= 1
        for place in own:
            assert {number // count for number in order if number % count == place} == set(range(shown[place]))


def test_the_seed_alone_decides_the_order() -> None:
    labels = torch.tensor([0] * 20 + [1] * 3)
    assert drawn(labels, 1) == drawn(labels, 1) != drawn(labels, 2)


@given(labels=LABELS)
def test_weights_are_scikit_learns_balanced_ones(labels: list[int]) -> None:
    """n_samples / (n_classes * bincount), as its documentation has it."""
    kinds = sorted(set(labels))
    found = class_weights(torch.tensor(labels), 6)
    wanted = len(labels) / (len(kinds) * np.bincount(labels)[kinds])
    np.testing.assert_allclose(found[kinds].numpy(), wanted, rtol=1e-6)
    assert float(found[torch.tensor(labels)].mean()) == pytest.approx(1, rel=1e-5)
    assert float(found.sum()) == pytest.approx(float(found[kinds].sum()))


@given(labels=LABELS, batch=st.integers(4, 20), seed=st.integers(0, 9))
def test_processes_share_the_batches_of_one(labels: list[int], batch: int, seed: int) -> None:
    known = torch.tensor(labels)

    def shares(world: World) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        return list(Shares(len(labels), batch, generator, world, lambda own: balanced_order(known, own)))

    whole = shares(World())
    parts = [shares(World(rank, 2)) for rank in range(2)]
    for number, images in enumerate(whole):
        if len(images) >= 4:
            assert sorted(parts[0][number] + parts[1][number]) == sorted(images)


@pytest.fixture
def uneven(data: str, tmp_path: Path) -> str:
    """The first class has 24 training images, the other one 5."""
    copy = tmp_path / "uneven"
    shutil.copytree(data.removeprefix("folder:"), copy)
    _, second = sorted((copy / "train").iterdir())
    for path in sorted(second.iterdir())[5:]:
        path.unlink()
    return f"folder:{copy}"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_repeated_image_is_changed_in_another_way(uneven: str, workers: int) -> None:
    train = open_data(uneven, image_hw=(32, 32)).train
    labels = labels_of(train)
    augment = Augmentation("affine", image_hw=(32, 32), mirrors=False, seed=0)
    loader = batches(
        Images(train, augment).at(1), batch_size=10, workers=workers, shuffle_seed=3, device=torch.device("cpu"),
        balance=labels,
    )  # fmt: skip
    read = list(loader)
    shown = torch.cat([batch.labels for batch in read])
    assert sorted(torch.bincount(shown).tolist()) == [14, 15]
    pixels = torch.cat([batch.pixels for batch in read])[shown == 1].flatten(1)
    assert len(pixels.unique(dim=0)) == len(pixels) > 5


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_a_run_that_stopped_ends_with_the_same_weights(balance: str, uneven: str, tmp_path: Path) -> None:
    asked = options(uneven, epochs=2, loc=Loc.NONE, balance=balance, augment="affine")
    run(asked, tmp_path / "whole")
    run(replace(asked, epochs=1), tmp_path / "parts")
    run(asked, tmp_path / "parts", resume=True)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


def test_labels_are_those_of_the_images(uneven: str) -> None:
    for split in (open_data(uneven, image_hw=(32, 32)).train, open_data("digits", image_hw=(16, 16)).test):
        assert labels_of(split).tolist() == [split[index][1] for index in range(len(split))]


@pytest.mark.parametrize("task", [Task.DETECT, Task.READ])
@pytest.mark.parametrize(
    ("changes", "guide", "option"),
    [
        (TrainingChanges(balance="weights"), Guidance(), "--balance"),
        (TrainingChanges(label_smoothing=0.1), Guidance(), "--label-smoothing"),
        (TrainingChanges(), Guidance(teacher=Path("runs/large")), "--teacher"),
    ],
)
def test_only_classifiers_have_the_one_label_that_these_are_about(
    task: Task, changes: TrainingChanges, guide: Guidance, option: str
) -> None:
    network = ChosenNetwork(loc=Loc.GLANCE, model="cnn", task=task)
    course = Course(data="digits", augment="none", epochs=1, precision="fp32", guide=guide)
    with pytest.raises(UsageError, match=option):
        choose_options("robust", RecipeChanges(training=changes), network, course)
