import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_score, recall_score, top_k_accuracy_score

from lstn.evaluation.scores import Scores, Tally, class_table, confusion_table, wilson


def some(seed: int, classes: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), truth] += 1
    return logits, truth


def dense(scores: Scores) -> np.ndarray:
    counts = np.zeros((len(scores.labels),) * 2, int)
    for row, column, count in scores.cells:
        counts[row, column] += count
    return counts


def tallied(logits: np.ndarray, truth: np.ndarray, batch: int = 7) -> Scores:
    tally = Tally(tuple(f"c{index}" for index in range(logits.shape[1])))
    for start in range(0, len(truth), batch):
        tally.add(logits[start : start + batch], truth[start : start + batch])
    return tally.scores()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 60), st.integers(1, 20))
def test_it_counts_as_scikit_learn_does(seed: int, classes: int, images: int, batch: int) -> None:
    logits, truth = some(seed, classes, images)
    scores, every = tallied(logits, truth, batch), list(range(classes))
    np.testing.assert_array_equal(dense(scores), confusion_matrix(truth, logits.argmax(1), labels=every))
    assert (scores.images, scores.right) == (images, int((logits.argmax(1) == truth).sum()))
    if classes > 5:
        assert scores.top5_share == pytest.approx(top_k_accuracy_score(truth, logits, k=5, labels=every))
    else:
        assert scores.top5 == images
    recall = recall_score(truth, logits.argmax(1), labels=every, average=None, zero_division=np.nan)
    precision = precision_score(truth, logits.argmax(1), labels=every, average=None, zero_division=np.nan)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.precision, precision)


def test_processes_add_their_figures_up() -> None:
    logits, truth = some(0, 4, 50)
    parts = [Tally(("a", "b", "c", "d")) for _ in range(2)]
    for index, part in enumerate(parts):
        part.add(logits[index::2], truth[index::2])
    parts[0].merge(parts[1:])
    np.testing.assert_array_equal(parts[0].scores().cells, tallied(logits, truth).cells)
    assert parts[0].scores().top5 == 50


def test_confusions_and_classes_come_worst_first() -> None:
    counts = np.array([[8, 2, 0, 0], [0, 10, 0, 0], [5, 1, 4, 0], [0, 0, 0, 0]])
    scores = Scores.of(("a", "b", "c", "none"), counts, 30)
    assert scores.confusions(9) == [("c", "a", 5), ("a", "b", 2), ("c", "b", 1)]
    assert scores.confusions(1) == [("c", "a", 5)]
    assert confusion_table(scores, 2).rows == (("c", "a", "5"), ("a", "b", "2"))
    rows = class_table(scores).rows
    assert rows[0] == ("c", "a (5)", "10", "40.0", "100.0")
    assert [row[0] for row in rows] == ["c", "a", "b", "none"]
    assert rows[-1] == ("none", "", "0", "", "")
    few = class_table(scores, 2)
    assert (len(few.rows), few.note) == (2, "2 better classes are left out.")
    told = json.loads(scores.to_json())
    assert told["classes"][3] == {"label": "none", "images": 0, "recall": None, "precision": None}
    assert told["confusion_cells"] == [[0, 0, 8], [0, 1, 2], [1, 1, 10], [2, 0, 5], [2, 1, 1], [2, 2, 4]]
    assert told["top1"] == 22 / 30


def test_ties_go_to_the_first_class_and_nan_never_leads() -> None:
    """As a stable sort of the logits would have it."""
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 3, (200, 9)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.2] = np.nan
    truth = rng.integers(9, size=200)
    order = np.argsort(-logits, axis=1, kind="stable")
    scores = tallied(logits, truth)
    assert scores.top5 == (order[:, :5] == truth[:, None]).any(axis=1).sum()
    np.testing.assert_array_equal(dense(scores), confusion_matrix(truth, order[:, 0], labels=list(range(9))))


def test_ten_thousand_classes_take_what_their_images_do() -> None:
    """A dense matrix would be 800 MB; and whatever takes a step for each pair of classes, minutes."""
    classes = 10_000
    tally = Tally(tuple(f"c{index}" for index in range(classes)))
    rng = np.random.default_rng(0)
    for start in range(0, classes, 100):
        tally.add(rng.normal(size=(100, classes)).astype(np.float32), np.arange(start, start + 100))
    tracemalloc.start()
    scores = tally.scores()
    written, table, shares = scores.to_json(), class_table(scores), scores.shares(500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 << 20
    assert len(written) < 2_000_000
    assert (len(table.rows), len(scores.cells)) == (classes, classes)
    assert shares.shape == (500, 500)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("side", [1, 3, 7, 100])
def test_neighbouring_classes_share_a_cell_of_the_picture(side: int) -> None:
    scores = tallied(*some(3, 7, 60))
    step = -(-7 // side)
    counts = dense(scores)
    blocks = np.array(
        [[counts[i : i + step, j : j + step].sum() for j in range(0, 7, step)] for i in range(0, 7, step)]
    )
    np.testing.assert_allclose(scores.shares(side), blocks / blocks.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("right", "images", "low", "high"), [(0, 10, 0, 27.75), (10, 10, 72.25, 100), (81, 263, 25.5, 36.6)]
)
def test_intervals_are_wilsons(right: int, images: int, low: float, high: float) -> None:
    """The last from Newcombe 1998, table I, method 3."""
    found = wilson(right, images)
    assert found.value == pytest.approx(100 * right / images)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.06), pytest.approx(high, abs=0.06))
