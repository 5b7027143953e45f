"""Follow of localizers whose behaviour is known: their pose comes from moments of the picture's brightness."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstn.contract import Contract, Loc, ThetaForm
from lstn.evaluation.disturb import Disturbance, Kind
from lstn.evaluation.measured_follow import MovedPictures, measure_follow, moved
from lstn.health.follow import Follow, brief, follows, in_detail
from lstn.images import Pixels
from lstn.untrusted.checked_json import checked
from lstn.warps.warp import Theta

HW = (48, 64)
COUNT = 40
KINDS = ("rotation", "scale", "shift")


def contract(theta: ThetaForm = ThetaForm.AFFINE) -> Contract:
    return Contract(Loc.LSTN, "cnn", HW, ("a", "b"), theta=theta)


def ellipses(background: int = 0) -> Pixels:
    """(COUNT, 48, 64, 3): an ellipse each, twice as long as wide, near the middle of an oblong picture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: HW[0], : HW[1]] + 0.5
    made = []
    for _ in range(COUNT):
        angle, side = rng.uniform(-1, 1), rng.uniform(2.0, 2.6)
        dx, dy = x - 32 - rng.uniform(-5, 5), y - 24 - rng.uniform(-4, 4)
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        bright = np.exp(-0.5 * (np.square(along / (2 * side)) + np.square(across / side)))
        made.append(np.repeat((background + (255 - background) * bright)[..., None], 3, axis=2))
    return np.stack(made).astype(np.uint8)


PICTURES = ellipses()


def by_moments(turn: float = 1.0, grow: float = 1.0, go: float = 1.0, side: float = 3.0) -> Callable[[Pixels], Theta]:
    """A localizer that follows these shares of a move, whose crop is about `side` times the ellipse's width."""

    def locate(pixels: Pixels) -> Theta:
        light = pixels[..., 0].astype(float)
        y, x = np.mgrid[: HW[0], : HW[1]] + 0.5
        whole = light.sum((1, 2))
        mean = np.stack([(light * x).sum((1, 2)), (light * y).sum((1, 2))]) / whole
        dx, dy = x - mean[0][:, None, None], y - mean[1][:, None, None]
        xx, yy, xy = ((light * each).sum((1, 2)) / whole for each in (dx * dx, dy * dy, dx * dy))
        angle = turn * 0.5 * np.arctan2(2 * xy, xx - yy)
        size = side * np.power((xx * yy - xy * xy) ** 0.25, grow)
        c, s = size * np.cos(angle), size * np.sin(angle)
        rows = [[c, -s, go * (mean[0] - 32)], [s, c, go * (mean[1] - 24)]]
        theta = np.moveaxis(np.array(rows), 2, 0) / [[32], [24]]
        return np.asarray(theta, np.float32)

    return locate


def constant(pixels: Pixels) -> Theta:
    return np.repeat(np.array([[[0.5, 0.1, 0.2], [-0.1, 0.6, 0.0]]], np.float32), len(pixels), axis=0)


def noisy(locate: Callable[[Pixels], Theta], amount: float, seed: int = 1) -> Callable[[Pixels], Theta]:
    rng = np.random.default_rng(seed)
    return lambda pixels: locate(pixels) + rng.normal(0, amount, (len(pixels), 2, 3)).astype(np.float32)


MOVED = MovedPictures(PICTURES, contract())


def measured(locate: Callable[[Pixels], Theta], batch: int = 2 * COUNT) -> Follow:
    return MOVED.follow(locate, batch=batch)


def values(found: Follow) -> list[float]:
    return [found[name]["value"] for name in KINDS]  # type: ignore[literal-required]


def test_a_constant_crop_follows_exactly_nothing() -> None:
    found = measured(constant)
    assert values(found) == [0.0, 0.0, 0.0]
    assert all(found[name]["residual"] == 0.0 for name in KINDS)  # type: ignore[literal-required]
    assert not follows(found)
    assert brief(found) == "rotation 0.00, scale 0.00, shift 0.00"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_crop_that_moves_as_the_content_does_follows_exactly_whatever_its_shape(seed: int) -> None:
    """Sheared, mirrored, tiny or huge: the answers are the known moves themselves, times any matrix of each picture."""
    rng = np.random.default_rng(seed)
    any_theta = rng.normal(0, 10 ** rng.uniform(-2, 1), (COUNT, 2, 3))
    answers = []
    for pairs in MOVED._moves.values():
        for index, pair in enumerate(pairs):
            for move in pair:
                sampled = np.vstack([move.theta(HW, index), [0, 0, 1]])
                answers.append((np.linalg.inv(sampled) @ np.vstack([any_theta[index], [0, 0, 1]]))[:2])
    left = iter(answers)
    found = MOVED.follow(lambda pixels: np.stack([next(left) for _ in pixels]).astype(np.float32), batch=16)
    assert values(found)[0] == pytest.approx(1, abs=1e-4)
    assert values(found)[1] == pytest.approx(1, abs=1e-3)
    # A shift of the picture moves every crop's centre alike, but float32 knows a far centre less exactly.
    assert values(found)[2] == pytest.approx(1, abs=1e-3)


def test_a_localizer_that_sees_the_object_follows_all_and_a_half_follower_half() -> None:
    assert values(measured(by_moments())) == pytest.approx([1, 1, 1], abs=0.01)
    assert values(measured(by_moments(0.5, 0.5, 0.5))) == pytest.approx([0.5, 0.5, 0.5], abs=0.01)
    assert values(measured(by_moments(-1, -1, -1))) == pytest.approx([-1, -1, -1], abs=0.01)


@pytest.mark.parametrize("only", range(3))
def test_kinds_are_told_apart(only: int) -> None:
    shares = [float(kind == only) for kind in range(3)]
    found = measured(by_moments(*shares))
    assert values(found) == pytest.approx(shares, abs=0.01)
    assert follows(found)


@pytest.mark.parametrize("side", [0.3, 1.0, 6.0])
def test_the_crops_size_is_of_no_account(side: float) -> None:
    assert values(measured(by_moments(0.5, 0.5, 0.5, side))) == pytest.approx([0.5, 0.5, 0.5], abs=0.01)


def test_noise_widens_the_interval_and_leaves_the_slope() -> None:
    """As a share of the error it would be negative: the noise is larger than the moves."""
    for share in (0.0, 0.5, 1.0):
        found = [measured(noisy(by_moments(share, share, share, 8.0), 0.15, seed)) for seed in range(20)]
        for name in KINDS:
            kind = [each[name] for each in found]  # type: ignore[literal-required]
            inside = sum(each["low"] <= share <= each["high"] for each in kind)
            assert inside >= 16, name  # of 95 %, fewer happen once in 400
            assert np.mean([each["value"] for each in kind]) == pytest.approx(share, abs=0.1)
    smallest = 0.05 * HW[1]
    assert all(each["shift"]["residual"] > smallest for each in found if each["shift"] is not None)


def test_nothing_but_noise_does_not_follow() -> None:
    assert sum(follows(measured(noisy(constant, 0.5, seed))) for seed in range(20)) <= 4
    assert sum(follows(measured(noisy(constant, 0.02, seed))) for seed in range(20)) == 0


def test_the_residual_is_the_noise_of_one_answer() -> None:
    found = measured(noisy(constant, 0.01))
    assert found["shift"] is not None
    assert found["shift"]["residual"] == pytest.approx(0.01 * math.hypot(32, 24), rel=0.15)


def test_batches_change_nothing() -> None:
    assert measured(by_moments(), 7) == measured(by_moments())


@pytest.mark.parametrize("answer", [np.nan, np.inf, 0.0, 3e38])
def test_a_theta_that_broke_follows_nothing_and_is_a_number(answer: float) -> None:
    found = measured(lambda pixels: np.full((len(pixels), 2, 3), answer, np.float32))
    assert values(found) == [0.0, 0.0, 0.0]
    json.dumps(found, allow_nan=False)


def test_one_wild_answer_counts_no_more_than_any_other() -> None:
    def locate(pixels: Pixels) -> Theta:
        theta = by_moments()(pixels)
        theta[0] *= np.float32(1e6)
        return theta

    assert all(0.9 < value < 1.1 for value in values(measured(locate, batch=2 * COUNT)))


def test_a_theta_that_cannot_turn_is_not_judged_by_turns() -> None:
    found = MovedPictures(PICTURES, contract(ThetaForm.CROP)).follow(constant, batch=16)
    assert found["rotation"] is None
    assert brief(found) == "scale 0.00, shift 0.00"
    assert "rotation" not in in_detail(found)
    assert checked(json.loads(json.dumps(found)), Follow) == found


@pytest.mark.parametrize("background", [0, 200])
def test_the_picture_moves_as_it_is_said_and_its_border_goes_on(background: int) -> None:
    image = ellipses(background)[3]
    move = Disturbance(Kind.SHIFT, 0.15)
    shift = -move.theta(HW, 3)[:, 2] / 2 * [HW[1], HW[0]]
    y, x = np.mgrid[: HW[0], : HW[1]]

    def centre(pixels: Pixels) -> np.ndarray:
        light = pixels[..., 0].astype(float) - background
        return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()

    found = moved(image, move, 3)
    assert centre(found) - centre(image) == pytest.approx(shift, abs=0.3)
    for kind, amount in ((Kind.ROTATE, 30), (Kind.SCALE, 1 / 1.25), (Kind.SHIFT, 0.15)):
        assert moved(image, Disturbance(kind, amount), 3).min() >= background


@pytest.mark.parametrize("hw", [(2, 2), (1, 1), (8, 64), (64, 8)])
def test_pictures_of_any_shape_can_be_moved(hw: tuple[int, int]) -> None:
    gray = np.full((*hw, 3), 99, np.uint8)
    for kind, amount in ((Kind.ROTATE, -30), (Kind.SCALE, 1 / 1.25), (Kind.SHIFT, -0.15)):
        np.testing.assert_array_equal(moved(gray, Disturbance(kind, amount), 1), gray)


class Held:
    fingerprint = "held"

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return PICTURES[index], 0

    def redrawn(self, epoch: int) -> "Held":
        return self


def test_a_single_image_has_no_interval_and_so_no_follow() -> None:
    assert measure_follow(constant, Held(1), contract(), batch=8) is None
    found = measure_follow(by_moments(), Held(5), contract(), batch=8)
    assert found is not None
    assert found["images"] == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"images": 0},
        {"images": True},
        {"scale": 7},
        {"scale": {}},
        {"shift": {"value": 1, "low": 1, "high": 1, "residual": float("nan")}},
        {"shift": {"value": 10**400, "low": 1, "high": 1, "residual": 1}},
    ],
)
def test_a_damaged_follow_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, OverflowError)):
        checked(measured(constant) | changes, Follow)
