"""Sentences and images as vectors: scores by their definition, regions of words against every assignment, recalls."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.alignment.alignment_scores import AlignedPair, score_alignment
from lstn.alignment.word_regions import located_words, regions_of_words, score_table, sentence_score
from lstn.data.objects import Objects
from lstn.warps.quadrilaterals import overlaps


def vectors(seed: int, *counts: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.normal(size=(count, 6)).astype(np.float32) for count in counts]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5))
def test_a_score_is_the_sum_of_each_words_best_region(seed: int, regions: int, words: int) -> None:
    seen, said = vectors(seed, regions, words)
    wanted = sum(max(float(np.dot(word, region)) for region in seen) for word in said)
    assert sentence_score(seen, said) == pytest.approx(wanted, abs=1e-5)
    others = vectors(seed + 1, regions, words + 1)
    table = score_table([seen, others[0]], [said, others[1]])
    assert table.shape == (2, 2)
    assert table[0, 0] == pytest.approx(wanted, abs=1e-5)
    assert table[1, 0] == pytest.approx(sentence_score(others[0], said), abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 5), st.sampled_from([0.0, 0.5, 3.0]))
def test_words_have_the_best_of_all_assignments(seed: int, regions: int, words: int, same: float) -> None:
    seen, said = vectors(seed, regions, words)

    def worth(assigned: tuple[int, ...]) -> float:
        products = sum(float(np.dot(word, seen[region])) for word, region in zip(said, assigned, strict=True))
        return products + same * sum(one == other for one, other in pairwise(assigned))

    found = regions_of_words(seen, said, same=same)
    best = max(worth(assigned) for assigned in product(range(regions), repeat=words))
    assert worth(tuple(found.tolist())) == pytest.approx(best, abs=1e-4)
    if same == 0:
        np.testing.assert_array_equal(found, (said @ seen.T).argmax(axis=1))


def test_a_sentence_without_words_has_no_regions() -> None:
    seen, said = vectors(0, 3, 0)
    assert regions_of_words(seen, said).shape == (0,)
    assert sentence_score(seen, said) == 0
    assert located_words((), said, seen, np.zeros((3, 2, 3), np.float32)) == ()


def test_a_word_is_as_sure_as_the_softmax_of_its_products() -> None:
    seen, said = vectors(3, 4, 3)
    theta = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    found = located_words(("a", "b", "c"), said, seen, theta, same=0.0)
    for each, word in zip(found, said, strict=True):
        weights = np.exp(seen @ word)
        assert each.score == pytest.approx(float(weights.max() / weights.sum()), rel=1e-5)
        np.testing.assert_array_equal(each.theta, theta[weights.argmax()])
    assert [each.label for each in found] == ["a", "b", "c"]


def pair(number: int, words: tuple[int, ...], places: np.ndarray, *, fits: int | None = None) -> AlignedPair:
    """Region k of image n is the k-th of a base of its own; the words are near those of image `fits`."""
    base = 3 * np.eye(40, dtype=np.float32)
    regions = base[2 * number : 2 * number + 2]
    of = number if fits is None else fits
    said = np.stack([base[2 * of + word % 2] for word in words])
    return AlignedPair(regions, places, said, Objects(np.array(words), places[[word % 2 for word in words]]))


def test_recalls_are_counted_both_ways() -> None:
    places = np.stack([np.array([[0.2, 0, x], [0, 0.2, 0]], np.float32) for x in (-0.5, 0.5)])
    right = [pair(number, (number, number + 1), places) for number in range(6)]
    scores = score_alignment(right)
    assert (scores.images, scores.among, scores.words) == (6, 6, 12)
    assert (scores.sentence_recall.value, scores.image_recall.value) == (100, 100)
    assert scores.overlap == pytest.approx(1)
    swapped = [*right[:4], pair(4, (4, 5), places, fits=5), pair(5, (5, 6), places, fits=4)]
    scores = score_alignment(swapped)
    assert scores.sentence_recall.value == scores.image_recall.value == pytest.approx(100 * 4 / 6)
    same = [*right[:4], pair(4, (4, 5), places, fits=5), pair(5, (4, 5), places, fits=4)]
    assert score_alignment(same).sentence_recall.value == 100  # the same words are as right


def test_images_are_looked_for_among_a_hundred() -> None:
    places = np.zeros((2, 2, 3), np.float32)
    random = np.random.default_rng(0)
    drawn = [random.normal(size=(2, 8)).astype(np.float32) for _ in range(120)]
    pairs = [
        AlignedPair(each, places, each, Objects(np.array([number, 0]), np.full((2, 2, 3), np.nan, np.float32)))
        for number, each in enumerate(drawn)
    ]
    wanted = 0
    for start, end in ((0, 100), (100, 120)):
        for number in range(start, end):
            fits = [sentence_score(drawn[number], drawn[other]) for other in range(start, end)]
            wanted += int(np.argmax(fits)) + start == number
    scores = score_alignment(pairs)
    assert scores.sentence_recall.value == pytest.approx(100 * wanted / 120)
    assert (scores.among, scores.words, scores.overlap, scores.shuffled) == (100, 0, None, None)


def test_the_control_finds_words_of_another_sentence() -> None:
    """Regions of the second image are elsewhere, and its words are looked for in the first one, and the other way."""
    one, other = (
        np.stack([np.array([[0.2, 0, x], [0, 0.2, y]], np.float32) for x in (-0.5, -0.4)]) for y in (-0.5, -0.42)
    )
    pairs = [pair(0, (0, 0), one), pair(0, (1, 1), other)]
    shares = [overlaps(one[1][None], other[1][None])[0, 0]] * 2 + [overlaps(other[0][None], one[0][None])[0, 0]] * 2
    assert 0 < shares[0] < 1
    assert score_alignment(pairs).shuffled == pytest.approx(float(np.mean(shares)))
