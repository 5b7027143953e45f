"""The two-sample test: what it must tell apart, what it must not, and features by a loop."""

import numpy as np
import pytest

from lstn.data.digits import Digits
from lstn.synthesis.generation_scores import GenerationScores, score_pictures, variety
from lstn.synthesis.two_samples import features, told_apart

NAMES = tuple("0123456789")


def digits(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    split = Digits("train", image_hw=(28, 28))
    drawn = [split[index] for index in range(first, first + count)]
    return np.stack([pixels for pixels, _ in drawn]), np.array([label for _, label in drawn])


@pytest.fixture(scope="module")
def two() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two sets of different digits, of the same classes in the same order."""
    pixels, labels = digits(0, 1000)
    by_class = [np.flatnonzero(labels == label)[:80] for label in range(10)]
    one, other = (np.concatenate([each[start::2] for each in by_class]) for start in (0, 1))
    return pixels[one], pixels[other], labels[one]


def test_real_pictures_are_not_told_from_real_ones(two: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    found = told_apart(*two)
    assert found.low <= 50 <= found.high
    scores = score_pictures(*two, NAMES, None)
    assert scores.taken_for_real > 0.85
    assert scores.variety["diversity"] == pytest.approx(1, abs=0.1)
    assert scores.variety["spread_px"] is None


@pytest.mark.parametrize(
    ("name", "least"), [("black", 97), ("noisy", 90), ("of another class", 55), ("fewer gray levels", 60)]
)
def test_what_is_wrong_is_told(two: tuple[np.ndarray, np.ndarray, np.ndarray], name: str, least: float) -> None:
    real, other, labels = two
    noise = np.random.default_rng(0).integers(0, 40, other.shape)
    made = {
        "black": np.zeros_like(other),
        "noisy": np.clip(other + noise, 0, 255).astype(np.uint8),
        "of another class": np.roll(other, 40, axis=0),
        "fewer gray levels": (other // 128 * 255).astype(np.uint8),
    }[name]
    found = told_apart(real, made, labels)
    assert found.value >= least
    assert found.low > 50


def test_features_are_those_of_a_loop() -> None:
    pixels, _ = digits(0, 3)
    found = features(pixels)
    filters = np.random.default_rng(1).normal(size=(75, 128))
    filters = (filters - filters.mean(0)) / 5
    image = pixels[2].astype(np.float64) / 255
    starts = range(0, 24, 2)
    grid = np.zeros((12, 12, 128))
    for row, y in enumerate(starts):
        for column, x in enumerate(starts):
            patch = image[y : y + 5, x : x + 5].transpose(2, 0, 1).reshape(-1)  # channel, row, column
            grid[row, column] = np.maximum(patch @ filters, 0)
    cells = [grid[y : y + 3, x : x + 3].mean((0, 1)) for y in (0, 3, 6, 9) for x in (0, 3, 6, 9)]
    np.testing.assert_allclose(found[2], np.concatenate(cells), atol=1e-4)
    np.testing.assert_allclose(features(pixels[2:]), found[2:], atol=1e-6)


def test_tiny_pictures_are_seen_as_they_are() -> None:
    pixels = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    np.testing.assert_array_equal(features(pixels), pixels.reshape(2, -1) / 255)


def test_diversity_is_the_distance_between_two_over_that_of_real_ones() -> None:
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (12, 9, 9, 3)).astype(np.uint8)
    made = (real // 4).astype(np.uint8)
    made[6:] = made[6]  # the second class has collapsed
    labels = np.array([0] * 6 + [1] * 6)

    def between(pixels: np.ndarray) -> float:
        pairs = [(one, other) for one in range(6) for other in range(one)]
        squares = [np.square(pixels[one].astype(float) - pixels[other].astype(float)).mean() for one, other in pairs]
        return float(np.sqrt(np.mean(squares)))

    found = variety(real, made, labels, ("x", "y"), np.tile(np.eye(2, 3, dtype=np.float32), (12, 1, 1)))
    wanted = between(made[:6]) / between(real[:6])
    assert found["diversity"] == pytest.approx(wanted / 2, rel=1e-6)
    assert (found["least_class"], found["least_diversity"]) == ("y", 0)
    assert found["spread_px"] == 0


def test_few_pictures_are_not_judged() -> None:
    pixels, labels = digits(0, 4)
    scores = score_pictures(pixels, pixels, labels, NAMES, None)
    assert isinstance(scores, GenerationScores)
    assert scores.told_apart is None
    assert scores.taken_for_real == 0
