"""Scores of a reader, against definitions."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.contract import Contract, Loc, Task
from lstn.data.objects import Objects
from lstn.data.poses import pose_from_box
from lstn.interval import ratio_interval
from lstn.transcription.reading_scores import edit_distance, score_text, score_texts

LABELS = ("0", "1", "2")
CONTRACT = Contract(Loc.GLANCE, "cnn", (20, 40), LABELS, task=Task.READ, warps=4)
words = st.text("012", max_size=6)


@cache
def by_definition(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    same = by_definition(one[1:], other[1:]) + (one[0] != other[0])
    return min(same, by_definition(one[1:], other) + 1, by_definition(one, other[1:]) + 1)


@given(words, words)
def test_edits_are_levenshteins(one: str, other: str) -> None:
    assert edit_distance(one, other) == by_definition(one, other)


def steps_of(text: str, steps: int) -> np.ndarray:
    """Logits that are sure of a text."""
    logits = np.zeros((steps, len(LABELS) + 1), np.float32)
    for step in range(steps):
        logits[step, LABELS.index(text[step]) if step < len(text) else -1] = 20
    return logits


def symbols_at(text: str, *boxes: tuple[float, float, float, float] | None) -> Objects:
    thetas = np.full((len(text), 2, 3), np.nan, np.float32)
    for place, box in enumerate(boxes):
        if box is not None:
            left, top, right, bottom = box
            middle, size = ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top)
            thetas[place] = pose_from_box(middle, size, 0, (20, 40)).theta
    return Objects(np.array([LABELS.index(symbol) for symbol in text], np.int64), thetas)


def test_a_reading_is_compared_symbol_by_symbol_and_box_by_box() -> None:
    truth = symbols_at("012", (0, 0, 10, 10), None, (20, 0, 30, 10))
    theta = symbols_at("0000", (0, 0, 10, 10), (0, 0, 5, 5), (25, 0, 35, 10), (0, 0, 9, 9)).thetas
    read = score_text(truth, steps_of("02", 4), theta, CONTRACT)
    assert (read.truth, read.best.text, read.edits) == ("012", "02", 1)
    assert read.overlaps == pytest.approx((1, 1 / 3))  # the second box isn't known, and there is no fourth symbol
    assert score_text(truth, steps_of("02", 4), None, CONTRACT).overlaps == ()


def test_scores_count_texts_symbols_and_boxes() -> None:
    one, other = symbols_at("012", (0, 0, 10, 10)), symbols_at("1")
    theta = symbols_at("000", (0, 0, 10, 10)).thetas
    theta[1:] = theta[0]
    found = [
        score_text(one, steps_of("012", 3), theta, CONTRACT),
        score_text(other, steps_of("202", 3), theta, CONTRACT),
    ]
    scores = score_texts(found)
    assert (scores.images, scores.right, scores.symbols, scores.edits) == (2, 1, 4, 3)
    assert scores.text_error.value == pytest.approx(50)
    assert scores.symbol_error.value == pytest.approx(75)
    assert (scores.overlap, scores.boxes) == (pytest.approx(1), 1)
    assert json.loads(scores.to_json())["text_error"]["low"] < 50
    assert score_texts([score_text(other, steps_of("1", 3), None, CONTRACT)]).overlap is None


def test_the_interval_of_a_ratio_holds_it_19_times_of_20() -> None:
    """Images of one to five symbols, of which some are hard and lose many: drawn often, and counted."""
    random, held, runs = np.random.default_rng(0), 0, 400
    for _ in range(runs):
        symbols = random.integers(1, 6, 600)
        errors = random.binomial(symbols, np.where(random.random(600) < 0.1, 0.6, 0.02)).astype(float)
        found = ratio_interval(errors, symbols.astype(float))
        held += found.low <= 0.1 * 0.6 + 0.9 * 0.02 <= found.high
    assert 0.92 < held / runs < 0.98
