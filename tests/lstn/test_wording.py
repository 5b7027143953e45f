"""Counts in words."""

import pytest

from lstn.report.wording import agreeing, counted


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "test image", "2 test images"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "batch", "2 batches"),
        (2, "box", "2 boxes"),
        (2, "copy", "2 copies"),
        (1_000, "file", "1,000 files"),
    ],
)
def test_a_noun_agrees_with_its_count(count: int, noun: str, words: str) -> None:
    assert counted(count, noun) == words


def test_a_verb_agrees_with_its_count() -> None:
    assert counted(1, "file", "are") == "1 file is"
    assert counted(0, "file", "are") == "0 files are"
    assert (agreeing(1, "have"), agreeing(2, "have")) == ("has", "have")
