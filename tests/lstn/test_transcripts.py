"""Decoding of a reader's steps, against every text that there can be."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.detection.suppression import Detection
from lstn.transcription.transcripts import drawn_symbols, symbols_in, transcripts
from lstn.warps.quadrilaterals import overlaps

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


@given(st.lists(st.sampled_from(LABELS), max_size=5))
def test_words_have_spaces_between_them(said: list[str]) -> None:
    logits = np.full((6, len(LABELS) + 1), -9, np.float32)
    for step, label in enumerate([*said, None]):
        logits[step, len(LABELS) if label is None else LABELS.index(label)] = 9
    (best,) = transcripts(logits, None, ("red", "blue", "a"), separator=" ")
    assert best.text == " ".join(("red", "blue", "a")[LABELS.index(label)] for label in said)
    assert len(symbols_in(best.text, " ")) == len(said)
    assert list(symbols_in("".join(said), "")) == said


def box(left: float, top: float, wide: float, high: float) -> np.ndarray:
    """The theta of an upright box in shares of the image."""
    return np.array([[wide, 0, 2 * left + wide - 1], [0, high, 2 * top + high - 1]], np.float32)


def test_words_at_one_place_are_drawn_as_one() -> None:
    corners = [(0.1, 0.1), (0.12, 0.1), (0.1, 0.16), (0.6, 0.5), (0.1, 0.1)]
    words = ("a", "big", "3", "is", "b")
    symbols = [
        Detection(word, 0.9 - number / 10, box(*corner, 0.2, 0.2))
        for number, (word, corner) in enumerate(zip(words, corners, strict=True))
    ]
    shares = overlaps(np.stack([each.theta for each in symbols]), symbols[0].theta[None])[:, 0]
    assert [share >= 0.5 for share in shares] == [True, True, True, False, True]
    drawn = drawn_symbols(symbols, " ")
    assert [each.label for each in drawn] == ["a big 3", "is", "b"]
    assert [each.score for each in drawn] == pytest.approx([0.7, 0.6, 0.5])
    np.testing.assert_array_equal(drawn[0].theta, symbols[0].theta)
    assert drawn_symbols(symbols, "") == tuple(symbols)
    assert drawn_symbols((), " ") == ()


def test_boxes_without_an_area_are_at_no_place() -> None:
    flat = [Detection(word, 1.0, np.zeros((2, 3), np.float32)) for word in "ab"]
    assert [each.label for each in drawn_symbols(flat, " ")] == ["a", "b"]
