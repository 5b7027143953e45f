"""Training of a reader: its loss by hand, runs of seconds, and runs that are resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from short_runs import assert_same_weights, options, run, weights_of, without_time
from small_texts import HW, MOST, block_texts

from lstn.contract import Loc, Task, ThetaForm
from lstn.data.poses import pose_from_box
from lstn.errors import DataError, UsageError
from lstn.train.batches.loading import NOBODY
from lstn.train.choices.asked_run import ChosenNetwork, Course
from lstn.train.choices.choosing import choose_options
from lstn.train.choices.recipe_changes import RecipeChanges, TransformerChanges
from lstn.train.objectives.reader_objective import step_labels, step_poses, text_entropy
from lstn.train.objectives.supervision import attention_loss, pose_loss
from lstn.train.runs.options import Options

READER = {"task": Task.READ, "loc": Loc.GLANCE, "image_size": HW, "crop": (12, 12), "warps": MOST, "batch_size": 16}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{block_texts(tmp_path_factory.mktemp('blocks'))}"


def test_steps_end_behind_the_last_symbol_and_ask_nothing_then() -> None:
    labels = torch.tensor([[4, 2, 7], [1, NOBODY, NOBODY], [3, 3, NOBODY]])
    assert step_labels(labels, steps=5, end=9).tolist() == [
        [4, 2, 7, 9, -100],
        [1, 9, -100, -100, -100],
        [3, 3, 9, -100, -100],
    ]
    assert step_labels(labels, steps=3, end=9).tolist() == [[4, 2, 7], [1, 9, -100], [3, 3, 9]]
    assert step_labels(labels[1:2], steps=2, end=9).tolist() == [[1, 9]]


def test_the_entropy_is_minus_log_of_the_texts_probability() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5)
    wanted = step_labels(torch.tensor([[1, 0], [3, NOBODY]]), steps=3, end=4)
    shares = logits.double().exp() / logits.double().exp().sum(2, keepdim=True)
    one = shares[0, 0, 1] * shares[0, 1, 0] * shares[0, 2, 4]
    other = shares[1, 0, 3] * shares[1, 1, 4]
    assert float(text_entropy(logits, wanted)) == pytest.approx(float(-(one.log() + other.log()) / 2), rel=1e-5)


def test_poses_belong_to_steps() -> None:
    labels = torch.tensor([[0, 1], [0, NOBODY]])
    thetas = torch.randn(2, 2, 2, 3)
    found = step_poses(labels, thetas, steps=3)
    assert found.isfinite().all(3).all(2).tolist() == [[True, True, False], [True, False, False]]
    torch.testing.assert_close(found[0, :2], thetas[0])


def test_the_distance_of_several_warps_is_the_mean_over_known_ones() -> None:
    torch.manual_seed(0)
    theta = torch.randn(2, 3, 2, 3)
    poses = torch.full((2, 3, 2, 3), torch.nan)
    known = [(0, 0), (0, 2), (1, 1)]
    for number, (row, step) in enumerate(known):
        poses[row, step] = torch.from_numpy(pose_from_box((10 + number, 12), (8, 6), 10 * number, (32, 32)).theta)
    each = [float(pose_loss(theta[row, step][None], poses[row, step][None], 1)) for row, step in known]
    assert float(pose_loss(theta, poses, 2)) == pytest.approx(np.mean(each), rel=1e-5)
    assert float(pose_loss(theta, poses * torch.nan, 2)) == 0


def test_attention_is_drawn_to_the_middle_of_each_known_symbol() -> None:
    """The cross-entropy with weights that are worked out place by place, in pixels of a picture of 32 x 64."""
    torch.manual_seed(0)
    attention = torch.log_softmax(torch.randn(1, 2, 6), dim=2)
    places = torch.rand(6, 2) * 2 - 1
    pose = pose_from_box((40, 10), (16, 8), 30, (32, 64)).theta
    poses = torch.stack([torch.from_numpy(pose), torch.full((2, 3), torch.nan)])[None]
    weights = []
    for x, y in places.tolist():
        right, below = (x + 1) * 32 - 40, (y + 1) * 16 - 10
        cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
        across, down = cos * right - sin * below, sin * right + cos * below  # turned counter-clockwise, with y down
        weights.append(np.exp(-3 * ((across / 8) ** 2 + (down / 4) ** 2)))
    wanted = -(np.array(weights) / np.sum(weights) * attention[0, 0].numpy()).sum()
    assert float(attention_loss(attention, places, poses, 1)) == pytest.approx(wanted, rel=1e-4)
    assert float(attention_loss(attention, places, poses * torch.nan, 1)) == 0


@pytest.mark.parametrize("theta", [ThetaForm.AFFINE, ThetaForm.CROP])
def test_blocks_are_read_and_found(blocks: str, tmp_path: Path, theta: ThetaForm) -> None:
    given = options(blocks, **READER, theta=theta, epochs=14, lr=0.004, loc_lr_scale=1.0, cosine=True, supervise=1.0)
    result = run(given, tmp_path / "run")
    assert result.test_accuracy > 0.8
    assert result.scores.overlap > 0.5  # type: ignore[union-attr]
    assert result.scores.images == 32  # type: ignore[union-attr]


def test_blocks_are_read_by_one_head_a_symbol(blocks: str, tmp_path: Path) -> None:
    given = options(blocks, **READER | {"loc": Loc.NONE, "crop": None}, epochs=10, lr=0.004, cosine=True)
    result = run(given, tmp_path / "run")
    assert result.test_accuracy > 0.5
    assert result.scores.overlap is None  # type: ignore[union-attr]


def test_a_run_that_is_resumed_ends_with_the_same_weights(blocks: str, tmp_path: Path) -> None:
    given = options(blocks, **READER, epochs=3, supervise=1.0)
    whole = run(given, tmp_path / "whole")
    run(options(blocks, **READER, epochs=1, supervise=1.0), tmp_path / "two")
    again = run(given, tmp_path / "two", resume=True)
    assert_same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "two"))
    assert without_time(whole.history) == without_time(again.history)


def test_texts_without_boxes_are_learned_from(tmp_path: Path) -> None:
    root = block_texts(tmp_path / "set", train=32, test=8, boxes=False)
    result = run(options(f"folder:{root}", **READER, epochs=1, supervise=1.0), tmp_path / "run")
    assert np.isfinite(result.history[0]["train_loss"])
    assert result.scores.overlap is None  # type: ignore[union-attr]


def test_a_text_that_is_too_long_is_told_before_the_work(blocks: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a text of 3 symbols, and a reader of --warps 2 reads 2 at most"):
        run(options(blocks, **READER | {"warps": 2}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def chosen(changes: RecipeChanges | None = None, loc: Loc = Loc.GLANCE) -> Options:
    return choose_options(
        "robust",
        RecipeChanges() if changes is None else changes,
        ChosenNetwork(loc=loc, model="cnn", task=Task.READ),
        Course(data="numbers-digits", augment="none", epochs=None, precision="fp32"),
    )


def test_usual_choices_of_a_reader() -> None:
    usual = chosen()
    assert (usual.image_size, usual.warps, usual.crop, usual.supervise) == ((128, 128), 5, (32, 32), 1)
    assert usual.recipe.loc_lr_scale == 1
    plain = chosen(loc=Loc.NONE)
    assert (plain.crop, plain.supervise) == (None, 0)


def test_what_a_reader_has_not_is_refused() -> None:
    with pytest.raises(UsageError, match="--equivariance is for models that classify, and this one reads"):
        chosen(RecipeChanges(transformer=TransformerChanges(equivariance=1.0)))
    with pytest.raises(UsageError, match="a reader of loc shared"):
        chosen(loc=Loc.SHARED)
