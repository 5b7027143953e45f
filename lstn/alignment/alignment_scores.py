"""Scores of a model that aligns: sentences found for images and images for sentences, and words found in images."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstn.alignment.word_regions import Vectors, regions_of_words, score_table
from lstn.data.objects import Objects
from lstn.evaluation.scores import wilson
from lstn.interval import Interval
from lstn.warps.quadrilaterals import overlaps
from lstn.warps.warp import Theta

AMONG = 100
"""Images, and sentences, among which one is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class AlignedPair:
    """What a model makes of an image and of its sentence.

    regions: (K, SPACE), and theta (K, 2, 3) of the same
    words:   (L, SPACE), of the words of truth
    """

    regions: Vectors
    theta: Theta
    words: Vectors
    truth: Objects


@dataclass(frozen=True, slots=True)
class AlignmentScores:
    """How well a model aligns images and sentences. Recalls in per cent, overlaps 0..1.

    images:    how many there were
    among:     how many images and sentences one was looked for among, at most
    sentence_recall: images whose own sentence, or one of the same words, had the highest score
    image_recall:    sentences whose own image, or one with a sentence of the same words, had
    overlap:   the mean intersection over union of a word's region and of where the word is, where that is known; None
               where nobody knows it
    shuffled:  the same, if the words are those of the next image's sentence: what regions alone come to
    words:     how many words have a known place
    """

    images: int
    among: int
    sentence_recall: Interval
    image_recall: Interval
    overlap: float | None
    shuffled: float | None
    words: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict()) + "\n"


def score_alignment(pairs: Sequence[AlignedPair]) -> AlignmentScores:
    """Return what one pair or more came to. Each AMONG that follow each other are looked for among each other."""
    sentences, images = 0, 0
    for start in range(0, len(pairs), AMONG):
        group = pairs[start : start + AMONG]
        table = score_table([each.regions for each in group], [each.words for each in group])
        same = _same([each.truth.labels for each in group])
        rows = np.arange(len(group))
        sentences += int(same[rows, table.argmax(axis=1)].sum())
        images += int(same[rows, table.argmax(axis=0)].sum())
    shares = [share for each in pairs for share in word_overlaps(each, each)]
    shifted = zip(pairs, [*pairs[1:], *pairs[:1]], strict=True)
    others = [share for each, other in shifted for share in word_overlaps(each, other)]
    return AlignmentScores(
        images=len(pairs),
        among=min(AMONG, len(pairs)),
        sentence_recall=wilson(sentences, len(pairs)),
        image_recall=wilson(images, len(pairs)),
        overlap=float(np.mean(shares)) if shares else None,
        shuffled=float(np.mean(others)) if others else None,
        words=len(shares),
    )


def _same(labels: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
    """(N, N): which sentences have the same words in the same order."""
    texts = np.array([each.tobytes() for each in labels], object)
    return np.asarray(texts[:, None] == texts[None])


def word_overlaps(image: AlignedPair, sentence: AlignedPair) -> list[float]:
    """Return the intersection over union of the region of each word in an image and of where it is in the sentence's
    own, for words whose place is known."""
    known = np.isfinite(sentence.truth.thetas).all(axis=(1, 2))
    if not known.any():
        return []
    chosen = regions_of_words(image.regions, sentence.words)[known]
    pairs = zip(image.theta[chosen], sentence.truth.thetas[known], strict=True)
    return [float(overlaps(one[None], other[None])[0, 0]) for one, other in pairs]
