"""Scenes with sentences: what is said is true of the poses, worked out another way, and some pairs are held out."""

import math
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstn.data.objects import objects_of
from lstn.data.scenes.described_scenes import DescribedScenes
from lstn.data.scenes.scene_sentences import (
    LONGEST,
    RELATIONS,
    WORDS,
    SaidObject,
    SceneSentence,
    held_out,
    sentence_in,
)
from lstn.data.texts.text_sets import open_texts
from lstn.warps.quadrilaterals import upright_boxes
from lstn.warps.warp import CORNERS, in_pixels, sampled

HW = (96, 128)
SAID = [SaidObject(*each) for each in product("0123456789", (False, True), ("", "left", "right"))]
EVERY = {str(SceneSentence((one,))) for one in SAID} | {
    str(SceneSentence((one, other), relation)) for one, other in product(SAID, repeat=2) for relation in RELATIONS
}


def split_of(name: str, hw: tuple[int, int] = HW, seed: int = 0) -> DescribedScenes:
    found = open_texts("captions-digits", image_hw=hw, seed=seed).split(name)  # type: ignore[arg-type]
    assert isinstance(found, DescribedScenes)
    return found


def told_of(scene: DescribedScenes, index: int) -> str:
    """The sentence, from the corners of the boxes in pixels and the digits alone."""
    found = scene.scene(index).objects
    phrases, middles = [], []
    for each in found:
        top_left, top_right, *_ = corners = in_pixels(sampled(each.pose.theta[None], CORNERS), scene.image_hw)[0]
        x, y = top_right - top_left
        upright = abs(y / x) < math.tan(math.radians(14))
        turn = " standing upright" if upright else " turned left" if y < 0 else " turned right"
        large = math.hypot(x, y) > 0.25 * min(scene.image_hw)
        phrases.append(f"a {'large' if large else 'small'} {each.label}{turn}")
        middles.append(corners.mean(axis=0))
    if len(found) == 1:
        return phrases[0]
    apart = np.abs(middles[0] - middles[1])
    axis = int(apart.argmax())
    assert apart[axis] > 1.4 * apart[1 - axis]
    first, second = (0, 1) if middles[0][axis] < middles[1][axis] else (1, 0)
    return f"{phrases[first]} is {RELATIONS[axis]} {phrases[second]}"


@pytest.mark.parametrize("hw", [HW, (64, 64)])
def test_a_sentence_is_true_of_the_poses(hw: tuple[int, int]) -> None:
    split = split_of("test", hw)
    found = [objects_of(split, index) for index in range(80)]
    for index, each in enumerate(found):
        said = " ".join(WORDS[number] for number in each.labels)
        assert said == told_of(split, index) == str(split.sentence(index))
        assert said in EVERY
        assert WORDS[split[index][1]] == "a"
    assert {len(split.sentence(index).objects) for index in range(80)} == {1, 2}


def test_a_word_is_where_its_digit_is_and_a_relation_nowhere() -> None:
    split = split_of("val")
    for index in range(40):
        words, scene = objects_of(split, index), split.scene(index)
        there = sorted((str(each.label), each.pose.theta.tobytes()) for each in scene.objects)
        said = [WORDS[number] for number in words.labels]
        parts = [list(part) for _, part in groupby(zip(said, words.thetas, strict=True), lambda each: each[0] == "a")]
        phrases: list[tuple[str, bytes]] = []
        for begins, rest in zip(parts[::2], parts[1::2], strict=True):
            (digit,) = (word for word, _ in rest if word.isdigit())
            ((_, place),) = begins
            about = [theta for _, theta in rest if np.isfinite(theta).all()]
            assert all(np.array_equal(theta, place) for theta in about)
            phrases.append((digit, place.tobytes()))
            assert [word for word, theta in rest if np.isnan(theta).all()] in (
                [],
                ["is", "left", "of"],
                ["is", "just", "above"],
            )
        assert sorted(phrases) == there


def test_digits_lie_inside_and_apart() -> None:
    split = split_of("train", (64, 96))
    for index in range(150):
        words = objects_of(split, index).thetas
        thetas = np.unique(words[np.isfinite(words).all(axis=(1, 2))], axis=0)
        assert len(thetas) == len(split.sentence(index).objects)
        left, top, right, bottom = boxes = upright_boxes(thetas, (64, 96)).T
        assert min(left.min(), top.min()) >= -1e-3
        assert right.max() <= 96 + 1e-3
        assert bottom.max() <= 64 + 1e-3
        if len(thetas) == 2:
            one, other = boxes.T
            assert max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3]) > 0.9


def test_training_never_shows_what_is_held_out_and_half_of_the_test_pairs_are() -> None:
    def combined(name: str, count: int) -> list[bool]:
        found = [split_of(name).sentence(index) for index in range(count)]
        return [
            held_out(int(each.objects[0].digit), each.relation, int(each.objects[1].digit))
            for each in found
            if each.relation is not None
        ]

    assert not any(combined("train", 500) + combined("val", 200))
    unseen = combined("test", 600)
    assert 0.42 < np.mean(unseen) < 0.58
    table = [[held_out(one, relation, other) for one in range(10) for other in range(10)] for relation in RELATIONS]
    for grid in (np.array(each).reshape(10, 10) for each in table):
        np.testing.assert_array_equal(grid.sum(axis=0), 2)
        np.testing.assert_array_equal(grid.sum(axis=1), 2)


def test_scenes_are_the_same_again_and_others_in_another_epoch() -> None:
    train, again = split_of("train"), split_of("train")
    np.testing.assert_array_equal(train[5][0], again[5][0])
    other = train.redrawn(1)
    assert [str(other.sentence(index)) for index in range(20)] != [str(train.sentence(index)) for index in range(20)]  # type: ignore[attr-defined]
    assert train.fingerprint != open_texts("numbers-digits", image_hw=HW).train.fingerprint


@given(st.sampled_from(sorted(EVERY)))
def test_a_sentence_is_read_as_it_was_said(text: str) -> None:
    found = sentence_in(text.split())
    assert str(found) == text
    assert len(text.split()) <= LONGEST


@given(st.sampled_from(sorted(EVERY)), st.integers(0, LONGEST), st.sampled_from(WORDS), st.booleans())
def test_other_words_are_no_sentence(text: str, place: int, word: str, replaces: bool) -> None:
    words = text.split()
    place = min(place, len(words) - replaces)
    words[place : place + replaces] = [word]
    assert (sentence_in(words) is not None) == (" ".join(words) in EVERY)
    assert (sentence_in(words[:place]) is not None) == (" ".join(words[:place]) in EVERY)


def test_the_words_are_those_of_the_sentences() -> None:
    assert {word for text in EVERY for word in text.split()} == set(WORDS)
    assert max(len(text.split()) for text in EVERY) == LONGEST
