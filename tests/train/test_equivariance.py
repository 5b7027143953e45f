"""Equivariance: moves of training images, and the loss by which a crop has to move along."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import Contract, Loc
from lstn.nn.classifier import Classifier
from lstn.train.batches.drawn_moves import SHIFT, TURN_DEG, ZOOM, Moves, move
from lstn.train.objectives.classifier_objective import Network
from lstn.train.objectives.following_loss import unfollowed

HW = (24, 40)
RATIO = HW[1] / HW[0]

numbers = st.floats(-1, 1, width=32)


def square(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1]])


def crop(turn: float, size: float, x: float, y: float, shear: float = 0.0) -> np.ndarray:
    """A crop of an oblong picture, (2, 3), turned in its pixels."""
    cos, sin = math.cos(turn), math.sin(turn)
    pixels = size * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]])
    half = np.array([HW[1] / 2, HW[0] / 2])
    return np.hstack([pixels * half[None, :] / half[:, None], [[x], [y]]])


def loss(theta: np.ndarray, of_moved: np.ndarray, moves: np.ndarray) -> float:
    first, second, by = (torch.from_numpy(each.astype(np.float32))[None] for each in (theta, of_moved, moves))
    return float(unfollowed(first, second, by, RATIO))


def test_a_move_is_the_same_for_a_seed_an_epoch_and_an_image_and_for_nothing_else() -> None:
    moves = Moves(HW, seed=3)
    several = moves([5, 7, 900], 2)
    assert (several.shape, several.dtype) == ((3, 2, 3), torch.float32)
    assert torch.equal(moves([7], 2)[0], several[1])
    others = (moves([7], 3), Moves(HW, seed=4)([7], 2), several[:1])
    assert not any(torch.equal(other[0], several[1]) for other in others)


def test_moves_are_similar_and_within_their_bounds() -> None:
    moves = Moves(HW, seed=0)(list(range(2000)), 1).double().numpy()
    half = np.array([HW[1] / 2, HW[0] / 2])
    pixels = moves[:, :, :2] * half[:, None] / half[None, :]
    size = np.sqrt(np.linalg.det(pixels))
    orthogonal = pixels / size[:, None, None]
    np.testing.assert_allclose(
        orthogonal @ orthogonal.transpose(0, 2, 1), np.broadcast_to(np.eye(2), (2000, 2, 2)), atol=1e-6
    )
    turns = np.degrees(np.arctan2(orthogonal[:, 1, 0], orthogonal[:, 0, 0]))
    for values, largest in (
        (turns, TURN_DEG),
        (np.log(size), math.log(ZOOM)),
        (moves[:, 0, 2], 2 * SHIFT),
        (moves[:, 1, 2], 2 * SHIFT),
    ):
        assert np.abs(values).max() <= largest * (1 + 1e-5)
        assert min(values.max(), -values.min()) > 0.95 * largest
        assert abs(values.mean()) < 0.05 * largest


@given(numbers, numbers, numbers, numbers, numbers, st.integers(0, 50))
def test_a_crop_that_moves_along_leaves_nothing(
    turn: float, size: float, x: float, y: float, shear: float, n: int
) -> None:
    theta, by = crop(3 * turn, 2**size, x, y, shear), Moves(HW, seed=0)([n], 0)[0].double().numpy()
    followed = (np.linalg.inv(square(by)) @ square(theta))[:2]
    assert loss(theta, followed, by) == pytest.approx(0, abs=1e-4)


@given(numbers, numbers, numbers, numbers, st.floats(0.3, 3))
def test_what_is_left_is_the_distance_of_corners_of_two_crops_as_large_as_the_picture(
    turn: float, zoom: float, x: float, y: float, size: float
) -> None:
    """Whatever the size of the crop itself. Sizes are compared by their logarithm, so only small ones are alike."""
    theta = crop(0.4, size, 0.2, -0.1)
    for turned, zoomed, shifted in ((3 * turn, 0.0, (0.0, 0.0)), (0.0, 0.05 * zoom, (0.0, 0.0)), (0.0, 0.0, (x, y))):
        answered = crop(0.4 + turned, size * math.exp(zoomed), 0.2 + shifted[0], -0.1 + shifted[1])
        corners = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)], float)
        cos, sin = math.cos(turned), math.sin(turned)
        other = math.exp(zoomed) * corners @ np.array([[cos, -sin], [sin, cos]]).T + shifted
        wanted = np.square(other - corners).sum(1).mean()
        assert loss(theta, answered, np.eye(2, 3)) == pytest.approx(wanted, abs=3e-4, rel=0.06)


def test_a_crop_that_does_not_move_leaves_all_and_has_a_gradient() -> None:
    moves = Moves(HW, seed=0)(list(range(64)), 1)
    theta = torch.eye(2, 3).repeat(64, 1, 1).requires_grad_()
    value = unfollowed(theta, torch.eye(2, 3).repeat(64, 1, 1), moves, RATIO)
    value.backward()
    assert float(value.detach()) > 0.1
    assert theta.grad is not None
    assert float(theta.grad.abs().max()) > 1e-3


def test_a_crop_that_collapsed_has_a_finite_gradient() -> None:
    theta = torch.zeros(2, 2, 3, requires_grad=True)
    unfollowed(theta, torch.zeros(2, 2, 3), Moves(HW, seed=0)([0, 1], 1), RATIO).backward()
    assert theta.grad is not None
    assert bool(theta.grad.isfinite().all())


class InFloat64(Classifier):
    """So that sums in another order differ by nothing that counts."""

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.double().permute(0, 3, 1, 2) * self.scale + self.shift


def test_gradients_of_a_batch_are_the_mean_of_those_of_its_shares() -> None:
    """As several processes compute them: each image has its own move, whoever it is with."""
    torch.manual_seed(0)
    model = InFloat64(Contract(Loc.STN, "cnn", (32, 32), ("a", "b"))).double()
    torch.nn.init.normal_(model.transformer.localizer.head[3].weight, std=0.05)
    pixels = torch.randint(0, 256, (10, 32, 32, 3), dtype=torch.uint8)
    moves = Moves((32, 32), seed=0)

    def gradients(images: list[int]) -> list[torch.Tensor]:
        by = moves(images, 1).double()
        model.zero_grad()
        logits, theta, of_moved = Network(model, "fp32")(pixels[images], by)
        (logits.square().mean() + unfollowed(theta, of_moved, by, 1.0)).backward()
        return [weight.grad.clone() for weight in model.parameters()]

    shares = [gradients(list(range(rank, 10, 2))) for rank in range(2)]
    for whole, first, second in zip(gradients(list(range(10))), *shares, strict=True):
        torch.testing.assert_close((first + second) / 2, whole, rtol=1e-9, atol=1e-12)


def test_a_moved_picture_is_read_point_by_point_and_goes_on_as_a_mirror_image() -> None:
    images, moves = torch.rand(2, 3, *HW), Moves(HW, seed=1)([3, 4], 1)
    moved, (height, width) = move(images, moves), HW
    for n in range(2):
        wide = np.pad(images[n].numpy(), [(0, 0), (height, height), (width, width)], mode="symmetric")
        for i, j in ((0, 0), (0, width - 1), (height - 1, 3), (7, 20), (height - 1, width - 1)):
            x, y = moves[n].numpy() @ [(2 * j + 1) / width - 1, (2 * i + 1) / height - 1, 1]
            column, row = (x + 1) * width / 2 - 0.5 + width, (y + 1) * height / 2 - 0.5 + height
            left, top = math.floor(column), math.floor(row)
            right, below = column - left, row - top
            value = (1 - below) * ((1 - right) * wide[:, top, left] + right * wide[:, top, left + 1])
            value += below * ((1 - right) * wide[:, top + 1, left] + right * wide[:, top + 1, left + 1])
            np.testing.assert_allclose(moved[n, :, i, j].numpy(), value, atol=2e-4)
