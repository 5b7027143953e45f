"""Labels of images, their average precision, F1 and thresholds, against scikit-learn and loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from lstn.contract import Contract, Loc, Task
from lstn.data.objects import Objects, no_objects
from lstn.evaluation.answer import Guess
from lstn.interval import Interval
from lstn.tagging.tag_scores import TaggedImages, average_precisions, score_tags, truth_of
from lstn.tagging.tags import has_tags, sigmoid, tags_of
from lstn.tagging.thresholds import FEWEST, fit_thresholds

LABELS = ("cat", "dog", "owl")
CONTRACT = Contract(Loc.NONE, "cnn", (8, 8), LABELS, task=Task.TAG, thresholds=(0.5, 0.3, 0.8))


def answered(seed: int, images: int = 60, *, steps: int = 8) -> TaggedImages:
    """Few different logits, so that many images share one."""
    random = np.random.default_rng(seed)
    truth = random.random((images, len(LABELS))) < (0.5, 0.2, 0.05)
    logits = np.round(random.normal(size=truth.shape) + 1.5 * truth, 0 if steps < 9 else 6)
    return TaggedImages(truth, logits.astype(np.float32))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("steps", [8, 1000])
def test_scores_are_those_of_scikit_learn(seed: int, steps: int) -> None:
    found = answered(seed, steps=steps)
    scores = score_tags([found, answered(seed + 10, steps=steps)], CONTRACT)
    truth, logits = (
        np.concatenate([getattr(each, name) for each in (found, answered(seed + 10, steps=steps))])
        for name in ("truth", "logits")
    )
    given_ = 1 / (1 + np.exp(-logits.astype(np.float64))) >= np.float32(CONTRACT.thresholds)
    for column, each in enumerate(scores.labels):
        wanted = average_precision_score(truth[:, column], logits[:, column])
        assert each.average_precision == pytest.approx(wanted, abs=1e-9)
        assert each.f1 == pytest.approx(f1_score(truth[:, column], given_[:, column]), abs=1e-9)
        assert each.threshold == pytest.approx(CONTRACT.thresholds[column])
    assert scores.mean_average_precision == pytest.approx(average_precision_score(truth, logits, average="macro"))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, given_, average="macro"))
    assert scores.micro_f1.value == pytest.approx(100 * f1_score(truth, given_, average="micro"))
    assert scores.exact == sum((one == other).all() for one, other in zip(truth, given_, strict=True))


def test_a_label_that_no_image_has_is_left_out_of_means() -> None:
    truth = np.array([[True, False, False], [False, True, False]])
    scores = score_tags([TaggedImages(truth, np.float32([[9, -9, 9], [-9, 9, -9]]))], CONTRACT)
    assert [each.average_precision for each in scores.labels] == [1, 1, None]
    assert (scores.mean_average_precision, scores.macro_f1, scores.exact) == (1, 1, 1)
    assert scores.labels[2].f1 == 0
    nothing = score_tags([TaggedImages(np.zeros((2, 3), bool), np.full((2, 3), -9, np.float32))], CONTRACT)
    assert (nothing.mean_average_precision, nothing.macro_f1, nothing.exact) == (0, 0, 2)
    assert nothing.micro_f1 == Interval(0, 0, 0)
    assert nothing.labels[0].f1 is None


def test_several_objects_of_a_class_are_one_label() -> None:
    thetas = np.zeros((3, 2, 3), np.float32)
    truth = truth_of([Objects(np.array([2, 0, 2]), thetas), no_objects()], 3)
    np.testing.assert_array_equal(truth, [[True, False, True], [False] * 3])


@given(st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=20))
def test_the_sigmoid_is_the_logistic_function(values: list[float]) -> None:
    wanted = [1 / (1 + math.exp(-value)) for value in values]
    np.testing.assert_allclose(sigmoid(np.float32([values]))[0], wanted, rtol=2e-6, atol=1e-37)


def test_an_image_has_the_labels_from_their_thresholds_on() -> None:
    logits = np.float32([[0.0, -0.8, 1.38], [-9, -9, -9], [-0.01, 4, 5]])
    probability = sigmoid(logits)
    assert tags_of(logits, CONTRACT)[:2] == [
        (Guess("cat", 0.5), Guess("dog", float(probability[0, 1]))),
        (),
    ]
    assert [each.label for each in tags_of(logits, CONTRACT)[2]] == ["owl", "dog"]
    assert [each.label for each in tags_of(logits, CONTRACT, most=1)[2]] == ["owl"]
    assert [each.label for each in tags_of(logits, CONTRACT, least=0)[0]] == ["owl", "cat", "dog"]
    half = Contract(Loc.NONE, "cnn", (8, 8), LABELS, task=Task.TAG)
    np.testing.assert_array_equal(has_tags(logits, half), logits >= 0)


def best_f1(sure: np.ndarray, truth: np.ndarray) -> float:
    return max(float(f1_score(truth, sure >= each)) for each in np.unique(sure))


@pytest.mark.parametrize("seed", range(8))
def test_a_threshold_gives_the_largest_f1_that_any_gives(seed: int) -> None:
    truth, logits = answered(seed, 200)
    sure = sigmoid(logits)
    for column, threshold in enumerate(fit_thresholds(sure, truth)):
        has = truth[:, column]
        if has.sum() < FEWEST:
            assert threshold == 0.5
        else:
            reached = f1_score(has, sure[:, column] >= np.float32(threshold))
            assert reached == pytest.approx(best_f1(sure[:, column], has))


def test_among_equal_thresholds_the_nearest_to_a_half_is_taken() -> None:
    truth = np.repeat([[True], [False]], 2 * FEWEST, axis=0)
    apart = np.where(truth, 0.9, 0.3).astype(np.float32)
    assert fit_thresholds(apart, truth)[0] == pytest.approx(0.6)
    assert fit_thresholds(apart[FEWEST:], truth[FEWEST:])[0] == pytest.approx(0.6)
    few = FEWEST + 1
    assert fit_thresholds(apart[few:], truth[few:]) == (0.5,)
    assert fit_thresholds(apart[:-few], truth[:-few]) == (0.5,)
    same = np.full((4 * FEWEST, 1), 1.0, np.float32)
    assert 0 < fit_thresholds(same, truth)[0] < 1


def test_average_precision_of_no_image_is_none() -> None:
    assert average_precisions(np.ones((3, 2), np.float32), np.zeros((3, 2), bool)) == [None, None]
