"""Vectors of regions and of words -> how well a sentence fits an image, and the region that each word is about."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.detection.suppression import Detection
from lstn.warps.warp import Theta

Vectors: TypeAlias = npt.NDArray[np.float32]
"""(K, SPACE) of regions, or (L, SPACE) of words."""

SAME_REGION = 1.0
"""What it is worth that a word is about the region of the word before it (beta of equation 10)."""


def sentence_score(regions: Vectors, words: Vectors) -> float:
    """Return how well a sentence fits an image: each word's largest inner product with a region, summed over words
    (Karpathy and Fei-Fei 2015, equation 8).

    regions: (K, SPACE); words: (L, SPACE)
    """
    return float((words @ regions.T).max(axis=1).sum())


def score_table(regions: list[Vectors], words: list[Vectors]) -> npt.NDArray[np.float64]:
    """Return the score of each sentence for each image: I images and S sentences -> (I, S)."""
    stacked = np.stack(regions)  # (I, K, SPACE): all images have as many regions
    return np.stack([(stacked @ each.T).max(axis=1).sum(axis=1) for each in words], axis=1).astype(np.float64)


def regions_of_words(regions: Vectors, words: Vectors, *, same: float = SAME_REGION) -> npt.NDArray[np.int64]:
    """Return the number of each word's region: the sequence whose inner products, and `same` for each word that is
    about the region of the word before it, sum to the most (Karpathy and Fei-Fei 2015, equations 10 and 11, by dynamic
    programming).

    regions: (K, SPACE); words: (L, SPACE) -> (L,)
    """
    gains = (words @ regions.T).astype(np.float64)
    best, came = gains[:1], []
    for gain in gains[1:]:
        stay, move = best[-1] + same, best[-1].max()
        came.append(np.where(stay >= move, np.arange(len(regions)), best[-1].argmax()))
        best = np.concatenate([best, np.maximum(stay, move)[None] + gain])
    path = [int(best[-1].argmax())] if len(words) else []
    for step in reversed(came):
        path.append(int(step[path[-1]]))
    return np.array(path[::-1], np.int64)


def located_words(
    said: tuple[str, ...], words: Vectors, regions: Vectors, theta: Theta, *, same: float = SAME_REGION
) -> tuple[Detection, ...]:
    """Return each word with its region, and how sure the model is of it: the softmax over the image's regions.

    said: the words; theta: (K, 2, 3), of the regions
    """
    chosen = regions_of_words(regions, words, same=same)
    products = (words @ regions.T).astype(np.float64)
    weights = np.exp(products - products.max(axis=1, keepdims=True)) if len(words) else products
    return tuple(
        Detection(word, float(row[region] / row.sum()), theta[region])
        for word, row, region in zip(said, weights, chosen.tolist(), strict=True)
    )
