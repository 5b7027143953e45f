"""Confidence: against loops over images, a search over temperatures, and answers whose confidence is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.evaluation.confidence import (
    BINS,
    FEWEST,
    Confidence,
    ConfidenceTally,
    confidence_report,
    confidence_table,
    fit_temperature,
    rejection_table,
    reliability_section,
)

answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def drawn(temperature: float, images: int = 4000, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are as probable as softmax(logits / temperature) says."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (images, classes)).astype(np.float32)
    weights = np.exp(logits.astype(np.float64) / temperature)
    edges = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
    return logits, (random.uniform(size=(images, 1)) > edges[:, :-1]).sum(1)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    total = 0.0
    for row, label in zip(logits.astype(np.float64) / temperature, labels, strict=True):
        total += float(np.logaddexp.reduce(row) - row[label])
    return total / len(labels)


@given(answers)
def test_the_calibration_error_is_what_a_loop_over_bins_says(given_: list[tuple[float, bool]]) -> None:
    confidence = Confidence(np.array([sure for sure, _ in given_]), np.array([right for _, right in given_]), 0.0)
    total = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = [each for each in given_ if int(each[0] * BINS) == number or (each[0] == 1 and number == BINS - 1)]
        assert all(low - 1e-12 <= sure <= high + 1e-12 for sure, _ in inside)
        if inside:
            gap = abs(np.mean([right for _, right in inside]) - np.mean([sure for sure, _ in inside]))
            total += gap * len(inside) / len(given_)
    assert confidence.error == pytest.approx(total, abs=1e-12)


@given(answers, st.floats(0, 1))
def test_what_is_kept_is_what_a_loop_counts(given_: list[tuple[float, bool]], least: float) -> None:
    confidence = Confidence(np.array([sure for sure, _ in given_]), np.array([right for _, right in given_]), 0.0)
    kept = [right for sure, right in given_ if sure >= least]
    assert confidence.kept(least) == (len(kept), sum(kept))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_temperature_fits_better(seed: int) -> None:
    logits, labels = drawn(1.7, images=120, seed=seed)
    best = cross_entropy(logits, labels, fit_temperature(logits, labels))
    assert best <= min(cross_entropy(logits, labels, each) for each in np.geomspace(0.05, 20, 400)) + 1e-9


def test_a_fit_makes_answers_as_sure_as_they_are_right() -> None:
    logits, labels = drawn(3.0)
    before, after = ConfidenceTally(), ConfidenceTally()
    before.add(logits, labels)
    after.add(logits / np.float32(fit_temperature(logits, labels)), labels)
    assert before.confidence().error > 0.2
    assert after.confidence().error < 0.03
    assert np.array_equal(before.confidence().right, after.confidence().right)


def test_where_nothing_can_be_learned_the_temperature_is_1() -> None:
    logits, labels = drawn(2.0, images=FEWEST)
    assert fit_temperature(logits, labels) != 1
    assert fit_temperature(logits[:-1], labels[:-1]) == 1
    assert fit_temperature(logits, logits.argmax(1)) == 1  # all are right
    assert fit_temperature(logits, logits.argmin(1)) == 1  # all are wrong
    assert fit_temperature(np.zeros((FEWEST, 1), np.float32), np.zeros(FEWEST, np.int64)) == 1


@pytest.mark.parametrize(("scale", "bound"), [(1e-6, 0.05), (1e6, 20.0)])
def test_a_fit_ends_at_the_bounds_of_a_contract(scale: float, bound: float) -> None:
    logits, labels = drawn(1.0, images=200)
    assert fit_temperature(logits * np.float32(scale), labels) == pytest.approx(bound)


def test_batches_add_up() -> None:
    logits, labels = drawn(1.0, images=100)
    whole, parts = ConfidenceTally(), ConfidenceTally()
    whole.add(logits, labels)
    for start in range(0, 100, 33):
        parts.add(logits[start : start + 33], labels[start : start + 33].tolist())
    one, other = whole.confidence(), parts.confidence()
    assert np.array_equal(one.sure, other.sure)
    assert np.array_equal(one.right, other.right)
    assert one.nll == pytest.approx(other.nll)
    assert one.nll == pytest.approx(cross_entropy(logits, labels, 1.0), rel=1e-5)


def test_tables_report_and_page_say_the_same() -> None:
    confidence = Confidence(np.array([0.95, 0.85, 0.65, 0.35]), np.array([True, True, False, False]), 0.5)
    cells = {row[0]: row[1:] for row in rejection_table(confidence, 0.66).rows}
    assert cells["none"][:2] == ("100.0", "50.00")
    assert cells["0.66"][:2] == ("50.0", "0.00")
    assert cells["0.99"] == ("0.0", "", "")
    kept = {each["below"]: each for each in confidence_report(confidence, 0.66)["rejected"]}
    assert kept[0.66] == {"below": 0.66, "answered": 0.5, "wrong": 0.0}
    assert kept[0.5] == {"below": 0.5, "answered": 0.75, "wrong": pytest.approx(1 / 3)}
    assert kept[0.99]["wrong"] is None
    assert ("right, %", "50.00") in confidence_table(confidence).rows
    assert reliability_section(confidence).count("<circle") == 4
