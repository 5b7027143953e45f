import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lstn.evaluation.answer import Guess, leading, softmax

LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 12)),
    elements=st.floats(-3e4, 3e4, width=32),
)


@given(LOGITS)
def test_softmax_is_that_of_float64_and_sums_to_one(logits: np.ndarray) -> None:
    wide = logits.astype(np.float64)
    expected = np.exp(wide - wide.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    probabilities = softmax(logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_softmax_of_huge_logits_neither_overflows_nor_warns() -> None:
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(softmax(np.array([[3e38, -3e38, 3e38]], np.float32)), [[0.5, 0, 0.5]])


def test_nan_stays_nan_in_its_row_alone() -> None:
    probabilities = softmax(np.array([[np.nan, 1], [0, 0]], np.float32))
    assert np.isnan(probabilities[0]).all()
    np.testing.assert_array_equal(probabilities[1], [0.5, 0.5])


@given(LOGITS, st.integers(1, 15))
def test_the_leading_labels_are_argsorts(logits: np.ndarray, top: int) -> None:
    labels = tuple(f"label {column}" for column in range(logits.shape[1]))
    probabilities = softmax(logits)
    for row, guesses in zip(probabilities, leading(probabilities, labels, top=top), strict=True):
        order = np.argsort(-row, kind="stable")[:top]
        assert guesses == tuple(Guess(labels[column], float(row[column])) for column in order)


@pytest.mark.parametrize("top", [2, 3, 9])
def test_of_equals_the_first_label_leads(top: int) -> None:
    (guesses,) = leading(np.array([[0.25, 0.5, 0.25]], np.float32), ("a", "b", "c"), top=top)
    assert [guess.label for guess in guesses] == ["b", "a", "c"][:top]
