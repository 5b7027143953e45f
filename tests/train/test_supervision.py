"""`--supervise`: the loss, what it refuses, and runs with it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from boxed_spots import boxed_copy
from command import RunLstn
from hypothesis import given, settings
from hypothesis import strategies as st
from short_runs import assert_same_weights, options, run, weights_of, without_time

from lstn.contract import Contract, Loc, ThetaForm
from lstn.data.dataset import open_data
from lstn.data.poses import pose_from_box
from lstn.errors import ArtifactError, UsageError
from lstn.nn.classifier import Classifier
from lstn.train.batches.augment import Augmentation
from lstn.train.batches.loading import Images
from lstn.train.computing.distributed import World
from lstn.train.fit_model import fit as fit_model
from lstn.train.objectives.supervision import check_posed, check_supervise, corner_squares, pose_loss
from lstn.train.runs.options import Options

CORNERS = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_distance_of_corners_is_that_in_the_crops_own_frame(seed: int) -> None:
    """Against 3 x 3 matrices, corner by corner."""
    rng = np.random.default_rng(seed)
    theta, pose = rng.normal(0, 1, (2, 3)), pose_from_box(
        tuple(rng.uniform(10, 50, 2)), tuple(rng.uniform(2, 40, 2)), rng.uniform(-180, 180), (60, 80)
    ).theta  # fmt: skip
    square = [np.vstack([each, [0, 0, 1]]) for each in (pose.astype(float), theta)]
    there = CORNERS @ (np.linalg.inv(square[0]) @ square[1]).T
    want = np.square(there - CORNERS)[:, :2].sum(1).mean()
    found = corner_squares(torch.tensor(theta[None], dtype=torch.float32), torch.from_numpy(pose)[None])
    assert float(found) == pytest.approx(want, rel=1e-3)


def test_the_loss_is_the_mean_over_known_poses_and_nothing_without_one() -> None:
    theta = torch.randn(5, 2, 3, requires_grad=True)
    poses = torch.eye(2, 3).repeat(5, 1, 1) * torch.rand(5, 1, 1).add(0.5)
    only = [float(pose_loss(theta[n : n + 1], poses[n : n + 1], 1).detach()) for n in (1, 3)]
    some = poses.clone()
    some[[0, 2, 4]] = torch.nan
    assert float(pose_loss(theta, some, 5).detach()) == pytest.approx(sum(only) / 2, rel=1e-5)
    nothing = pose_loss(theta, torch.full_like(poses, torch.nan), 5)
    assert float(nothing.detach()) == 0
    (gradient,) = torch.autograd.grad(nothing, theta)
    assert torch.equal(gradient, torch.zeros_like(theta))


def test_the_loss_is_the_square_near_by_and_has_a_gradient_far_away() -> None:
    pose = torch.tensor([[[0.1, 0, 0.5], [0, 0.1, 0.5]]])
    near = pose + 0.001
    assert float(pose_loss(near, pose, 1)) == pytest.approx(float(corner_squares(near, pose)), rel=1e-3)
    sizes = []
    for far in (1.0, 10.0, 100.0):
        theta = torch.eye(2, 3)[None].mul(far).requires_grad_()
        (gradient,) = torch.autograd.grad(pose_loss(theta, pose, 1), theta)
        sizes.append(float(gradient.norm()))
    assert sizes[0] == pytest.approx(sizes[2], rel=0.2)  # neither nothing nor a hundred times as much


def test_shares_of_a_batch_come_to_the_mean_over_its_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of four images each, three poses known in one and one in the other."""
    theta, poses = torch.randn(8, 2, 3), torch.eye(2, 3).repeat(8, 1, 1)
    poses[[3, 4, 5, 6]] = torch.nan
    monkeypatch.setattr(World, "sum", lambda self, values: [4.0])
    world = World(0, 2)
    shares = [float(pose_loss(theta[part], poses[part], 8, world)) for part in (slice(4), slice(4, 8))]
    # A share's loss counts by its images, and processes are averaged.
    assert sum(share * 4 * world.size / 8 for share in shares) / world.size == pytest.approx(
        float(pose_loss(theta, poses, 8)), rel=1e-5
    )


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(UsageError, match="not a weight"):
        check_supervise(Loc.LSTN, weight)


@pytest.mark.parametrize("loc", [Loc.NONE, Loc.IDENTITY, Loc.DEAD])
def test_without_a_localizer_there_is_nothing_to_supervise(loc: Loc) -> None:
    check_supervise(loc, 0.0)
    with pytest.raises(UsageError, match="trains no localizer"):
        check_supervise(loc, 1.0)


def test_a_set_without_poses_is_refused_before_anything_is_trained(data: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs true poses"):
        run(options(data, supervise=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def boxed(data: str, tmp_path: Path) -> str:
    return boxed_copy(data, tmp_path / "boxed")


def test_boxes_reach_the_batches(boxed: str) -> None:
    train = open_data(boxed, image_hw=(32, 32)).train
    check_posed(train, boxed)
    poses = Images(train, posed=True).__getitems__([0, 1, 2]).poses
    assert poses.isfinite().all(2).all(1).tolist() == [True, False, True]
    assert Images(train).__getitems__([0, 2]).poses is None


def test_poses_in_a_batch_move_with_the_images() -> None:
    split = open_data("digits", image_hw=(32, 32)).train
    turning = Augmentation("affine", image_hw=(32, 32), mirrors=False, seed=0)
    still, moved = (Images(split, augment, posed=True).__getitems__([0, 1]) for augment in (None, turning))
    _, wanted = turning(still.pixels, still.poses, [0, 1], 0)
    assert torch.equal(moved.poses, wanted)
    assert not torch.equal(moved.poses, still.poses)


SUPERVISED: dict[str, object] = {"supervise": 0.5, "augment": "standard", "iterations": 2}


def test_a_supervised_run_stopped_after_an_epoch_ends_with_the_same_weights(boxed: str, tmp_path: Path) -> None:
    whole = run(options(boxed, epochs=3, **SUPERVISED), tmp_path / "whole")
    run(options(boxed, epochs=1, **SUPERVISED), tmp_path / "parts")
    parts = run(options(boxed, epochs=3, **SUPERVISED), tmp_path / "parts", resume=True)
    assert without_time(parts.history) == without_time(whole.history)
    assert_same_weights(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


def test_a_changed_box_is_changed_data_where_boxes_are_used(boxed: str, tmp_path: Path) -> None:
    run(options(boxed, epochs=1, supervise=0.5), tmp_path / "with")
    run(options(boxed, epochs=1), tmp_path / "without")
    table = Path(boxed.removeprefix("folder:")) / "boxes.csv"
    table.write_text(table.read_text().replace(",6,", ",7,"))
    run(options(boxed, epochs=2), tmp_path / "without", resume=True)
    with pytest.raises(ArtifactError):
        run(options(boxed, epochs=2, supervise=0.5), tmp_path / "with", resume=True)


@pytest.mark.parametrize("form", list(ThetaForm))
def test_supervision_draws_theta_to_the_pose(tmp_path: Path, form: ThetaForm) -> None:
    """Digits, of which the pose is known: after a few steps theta is nearer to it than before, in every form."""
    split = open_data("digits", image_hw=(32, 32)).train
    torch.manual_seed(0)
    model = Classifier(Contract(Loc.STN, "cnn", (32, 32), tuple("0123456789"), theta=form)).train()
    batch = Images(split, posed=True).__getitems__(list(range(32)))
    pixels, poses = batch.pixels, batch.poses
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        _, theta = model.transform(pixels)
        assert theta is not None
        loss = pose_loss(theta, poses, 32)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_old_options_have_no_supervision() -> None:
    given = options("digits")
    text = given.to_json().replace(', "supervise": 0.0', "").replace('"supervise": 0.0, ', "")
    assert "supervise" not in text
    assert Options.from_json(text, source="old") == given


REFUSED = {
    "negative": (("--supervise", "-1"), "--supervise"),
    "infinite": (("--supervise", "inf"), "--supervise inf is not a weight"),
    "no number": (("--supervise", "nan"), "--supervise: expected 0 or more"),
    "no localizer": (("--supervise", "1", "--loc", "none"), "a run of loc none trains no localizer"),
    "a control": (("--supervise", "1", "--loc", "dead"), "a run of loc dead trains no localizer"),
    "no poses": (("--supervise", "1"), "--supervise needs true poses"),
}


@pytest.mark.parametrize(("given", "says"), REFUSED.values(), ids=REFUSED)
def test_the_command_refuses_it_in_one_line(
    run_lstn: RunLstn, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run_lstn("train", "--data", data, "--model", "cnn", "--image-size", "32", *given)
    assert ran.code == 2
    assert says in ran.err
    assert not list(tmp_path.iterdir())


def test_a_program_trains_its_own_network_on_boxes(boxed: str, tmp_path: Path) -> None:
    labels = open_data(boxed, image_hw=(32, 32)).labels
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, len(labels)))
    model = Classifier.around(network, labels=labels, image_hw=(32, 32))
    result = fit_model(model, boxed, tmp_path / "own", epochs=1, supervise=0.5)
    assert len(result.history) == 1
    with pytest.raises(UsageError, match="not a weight"):
        fit_model(model, boxed, tmp_path / "wrong", epochs=1, supervise=-1.0)
