"""The adversary of a training: what it proposes, which way it learns, and that a run with it goes on as it was."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from short_runs import assert_same_weights, options, run, weights_of

from lstn.contract import Loc
from lstn.errors import UsageError
from lstn.nn.checkpoint import load_checkpoint
from lstn.train.adversary import Adversary, check_processes
from lstn.train.augment import SHIFT, TURN_DEG, ZOOM
from lstn.train.equivariance import move


def images(count: int, height: int = 32, width: int = 32) -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, 3), generator=drawn, dtype=torch.uint8)


def spread(adversary: Adversary) -> None:
    """Let it propose far and wide, as after a long training."""
    torch.nn.init.normal_(adversary.localizer.head[-1].weight, 0, 20)


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_no_proposal_is_out_of_bounds(size: tuple[int, int]) -> None:
    adversary = Adversary(size, 0)
    spread(adversary)
    pixels = images(64, *size)
    thetas = adversary.propose(pixels.permute(0, 3, 1, 2).float()).double()
    ratio = size[1] / size[0]
    cos, sin = thetas[:, 0, 0], thetas[:, 1, 0] / ratio
    torch.testing.assert_close(thetas[:, 0, 1], -thetas[:, 1, 0] / ratio**2)  # a turn and a size in square pixels
    angle, scale = torch.atan2(sin, cos).rad2deg(), (cos**2 + sin**2).sqrt()
    assert float(angle.detach().abs().max()) <= TURN_DEG + 1e-3
    assert 1 / ZOOM - 1e-5 <= float(scale.min()) < float(scale.max()) <= ZOOM + 1e-5
    assert float(thetas[:, :, 2].abs().max()) <= 2 * SHIFT + 1e-5
    for part in (thetas[::2], thetas[1::2]):  # proposed, and drawn
        assert (part.flatten(1)[:, [1, 2, 5]].std(0) > 0.03).all()


def test_it_learns_to_raise_the_loss_that_falls_elsewhere() -> None:
    """One gradient: a classifier's weight goes down it, and what the adversary proposes climbs."""
    torch.manual_seed(0)
    adversary = Adversary((32, 32), 0)
    pixels = torch.zeros(32, 32, 32, 3, dtype=torch.uint8)
    pixels[:, 12:20, 12:20] = 255
    left = torch.linspace(1, -1, 32)[None, None, :, None]
    gain = torch.tensor(1.0, requires_grad=True)

    def loss_of(moved: torch.Tensor) -> torch.Tensor:
        return F.relu(gain) * (moved / 255 * left).mean(dim=(1, 2, 3))  # how far left the square is

    before = adversary.propose(pixels.permute(0, 3, 1, 2).float())[::2, 0, 2].mean()
    for _ in range(60):
        moved, _ = adversary(pixels, None)
        loss_of(moved).mean().backward()
        adversary.learn()
    proposed = adversary.propose(pixels.permute(0, 3, 1, 2).float())[::2]
    assert float(proposed[:, 0, 2].mean() - before) > 0.5 * 2 * SHIFT  # reads further right: the square goes left
    moved, _ = adversary(pixels, None)
    assert float(loss_of(moved)[::2].mean()) > float(loss_of(moved)[1::2].mean())
    assert float(gain.grad) != 0  # type: ignore[arg-type]
    assert all(weight.grad is None for weight in adversary.parameters())


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    adversary = Adversary((32, 32), 0)
    before = {name: each.clone() for name, each in adversary.state_dict().items()}
    for weight in adversary.parameters():
        weight.grad = torch.full_like(weight, math.inf)
    adversary.learn()
    assert_same_weights(before, adversary.state_dict())


def test_poses_move_along() -> None:
    """What the pose samples of the moved image is what it sampled of the image."""
    adversary = Adversary((32, 32), 0)
    spread(adversary)
    smooth = torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4), (32, 32), mode="bicubic") * 255
    pixels = smooth.clamp(0, 255).permute(0, 2, 3, 1).byte()
    poses = torch.tensor([[0.3, 0.05, 0.1], [-0.05, 0.3, -0.1]]).repeat(8, 1, 1)
    poses[3] = math.nan
    moved, along = adversary(pixels, poses)
    assert along is not None
    known = torch.arange(8) != 3
    assert along[3].isnan().all()
    assert not along.requires_grad
    one = move(pixels.permute(0, 3, 1, 2).float()[known], poses[known])
    other = move(moved.detach().permute(0, 3, 1, 2)[known], along[known])
    assert float((one - other).abs().mean()) < 3


def test_the_classifier_starts_alike_whatever_its_training() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    Adversary((32, 32), 0)
    assert torch.equal(torch.rand(3), wanted)


def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(data: str, tmp_path: Path) -> None:
    given = options(data, augment="adversarial", epochs=2, loc=Loc.NONE, image_size=32)
    run(given, tmp_path / "whole")
    stopped = options(data, augment="adversarial", epochs=1, loc=Loc.NONE, image_size=32)
    run(stopped, tmp_path / "stopped")
    run(given, tmp_path / "stopped", resume=True)
    whole = weights_of(tmp_path / "whole")
    assert any(name.startswith("adversary.optimizer.") for name in whole)
    assert_same_weights(whole, weights_of(tmp_path / "stopped"))
    kept = load_checkpoint(tmp_path / "whole" / "checkpoint.safetensors")
    assert kept.model.transformer is None  # the adversary is no part of the model
    plain = options(data, epochs=2, loc=Loc.NONE, image_size=32)
    run(plain, tmp_path / "plain")
    assert not any(name.startswith("adversary.") for name in weights_of(tmp_path / "plain"))


def test_several_processes_are_refused() -> None:
    with pytest.raises(UsageError, match="one process, not in 2"):
        check_processes("adversarial", 2)
    check_processes("adversarial", 1)
    check_processes("affine", 2)
