"""Decoding of a reader's steps, against every text that there can be."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.transcription.transcripts import transcripts

LABELS = ("a", "b", "c")


def every_text(logits: np.ndarray) -> list[tuple[float, str]]:
    """Return the probability of each text of up to T symbols, best first, by the definition of a softmax."""
    weights = np.exp(logits.astype(np.float64))
    shares = weights / weights.sum(axis=1, keepdims=True)
    found = []
    for length in range(len(shares) + 1):
        for symbols in product(range(len(LABELS)), repeat=length):
            probability = float(np.prod([shares[step, symbol] for step, symbol in enumerate(symbols)]))
            if length < len(shares):
                probability *= float(shares[length, -1])
            found.append((probability, "".join(LABELS[symbol] for symbol in symbols)))
    return sorted(found, reverse=True)


@given(st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.1, 6))
def test_the_beam_finds_the_best_of_all_texts(steps: int, seed: int, top: int, spread: float) -> None:
    logits = (spread * np.random.default_rng(seed).normal(size=(steps, len(LABELS) + 1))).astype(np.float32)
    wanted = every_text(logits)
    assert sum(probability for probability, _ in wanted) == pytest.approx(1)
    found = transcripts(logits, None, LABELS, top=top)
    assert [each.probability for each in found] == pytest.approx([probability for probability, _ in wanted[:top]])
    by_text = {text: probability for probability, text in wanted}
    assert [each.probability for each in found] == pytest.approx([by_text[each.text] for each in found])
    assert len({each.text for each in found}) == len(found)


def test_a_short_text_beats_the_surest_steps() -> None:
    """The first step is surest of `a`; but what follows is anybody's guess, and the empty text is more probable."""
    steps = np.log(np.array([[0.5, 0.05, 0.05, 0.4], [0.3, 0.3, 0.3, 0.1]], np.float32))
    first, second = transcripts(steps, None, LABELS, top=2)
    assert (first.text, first.probability) == ("", pytest.approx(0.4))
    assert second.probability == pytest.approx(0.15)


def test_symbols_have_the_places_and_probabilities_of_their_steps() -> None:
    logits = np.array([[9, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 9], [9, 0, 0, 0]], np.float32)
    theta = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    (best,) = transcripts(logits, theta, LABELS)
    assert str(best).startswith("ac ")
    assert [each.label for each in best.symbols] == ["a", "c"]
    for each, place, logit in zip(best.symbols, theta, (9, 4), strict=False):
        np.testing.assert_array_equal(each.theta, place)
        assert each.score == pytest.approx(np.exp(logit) / (np.exp(logit) + 3))
    assert transcripts(logits, None, LABELS)[0].symbols == ()


def test_a_text_of_all_steps_needs_no_end() -> None:
    logits = np.array([[9, 0, 0, 0]] * 3, np.float32)
    (best,) = transcripts(logits, None, LABELS)
    assert best.text == "aaa"
    assert best.probability == pytest.approx((np.exp(9) / (np.exp(9) + 3)) ** 3)


def test_logits_beyond_what_exp_holds() -> None:
    logits = np.array([[3e38, -3e38, 0, 0], [-3e38, 0, 0, 3e38]], np.float32)
    (best,) = transcripts(logits, None, LABELS)
    assert (best.text, best.probability) == ("a", 1)
