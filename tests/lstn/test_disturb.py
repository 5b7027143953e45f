import numpy as np
import pytest
from PIL import Image

from lstn.evaluation.disturb import Disturbance, Kind


def blob(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_a_quarter_turn_is_exact_and_counter_clockwise(quarters: int) -> None:
    pixels = blob(12, 12)
    turned = Disturbance(Kind.ROTATE, 90 * quarters).apply(pixels, 0)
    np.testing.assert_allclose(turned.astype(int), np.rot90(pixels, quarters).astype(int), atol=1)


def test_an_oblong_image_is_turned_and_not_sheared() -> None:
    pixels = np.asarray(Image.fromarray(blob(5, 8)).resize((80, 50), Image.Resampling.BICUBIC))
    ours = Disturbance(Kind.ROTATE, 20).apply(pixels, 0)
    pillows = np.asarray(Image.fromarray(pixels).rotate(20, Image.Resampling.BILINEAR))
    inside = (slice(14, -14), slice(24, -24))
    np.testing.assert_allclose(ours[inside].astype(int), pillows[inside].astype(int), atol=2)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (8, 20)])
def test_twice_as_large_is_the_middle_enlarged_and_half_as_large_has_a_black_margin(height: int, width: int) -> None:
    pixels = np.full((height, width, 3), 200, np.uint8)
    pixels[:, : width // 2] = 50
    large = Disturbance(Kind.SCALE, 2).apply(pixels, 0)
    assert (large[:, : width // 2 - 1] == 50).all()
    assert (large[:, width // 2 + 1 :] == 200).all()
    small = Disturbance(Kind.SCALE, 0.5).apply(pixels, 0)
    middle = small[height // 4 + 1 : 3 * height // 4 - 1, width // 4 + 1 : 3 * width // 4 - 1]
    assert middle.min() >= 50
    assert small[: height // 4 - 1].max() == 0
    assert small[:, : width // 4 - 1].max() == 0


def test_images_are_shifted_by_as_much_to_all_sides() -> None:
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[20, 20] = 255
    shift = Disturbance(Kind.SHIFT, 0.2)
    moves = []
    for index in range(200):
        mass = shift.apply(pixels, index)[..., 0].astype(float)
        y, x = (np.arange(41) @ mass.sum(axis=axis) / mass.sum() - 20 for axis in (1, 0))
        moves.append((x, y))
    lengths = np.linalg.norm(moves, axis=1)
    np.testing.assert_allclose(lengths, 0.2 * 41, atol=0.15)
    np.testing.assert_allclose(np.mean(moves, axis=0), 0, atol=0.3)
    quadrants = np.unique(np.sign(np.array(moves[1:])), axis=0, return_counts=True)[1]
    assert quadrants.min() > 40


def test_the_first_image_is_shifted_to_the_right() -> None:
    pixels = blob(10, 20)
    moved = Disturbance(Kind.SHIFT, 0.1).apply(pixels, 0)
    np.testing.assert_allclose(moved[:, 2:].astype(int), pixels[:, :-2].astype(int), atol=1)
    assert moved[:, :2].max() <= 1


@pytest.mark.parametrize("kind", list(Kind))
def test_the_amount_that_leaves_an_image_leaves_it(kind: Kind) -> None:
    pixels = blob(9, 7)
    assert Disturbance(kind, kind.leaves).apply(pixels, 3) is pixels
    theta = Disturbance(kind, kind.leaves).theta((9, 7), 3)
    np.testing.assert_allclose(theta, [[1, 0, 0], [0, 1, 0]], atol=1e-7)
