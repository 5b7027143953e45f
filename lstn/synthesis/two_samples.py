"""The two-sample test by a classifier: can pictures that were painted be told from real ones of the same classes?

Lopez-Paz and Oquab 2017 (Revisiting Classifier Two-Sample Tests): a classifier learns the difference on one half of the
pictures, and is asked about the other half. Half of its answers are right if there is no difference. The classifier is
one of kernel ridge regression on features that were drawn once and learn nothing, so it takes a second, and is the same
judge in every epoch of every run.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lstn.evaluation.scores import wilson
from lstn.images import Pixels
from lstn.interval import Interval

Labels = npt.NDArray[np.int64]

FEWEST = 8
"""Pictures of each kind, at least: fewer tell nothing."""

_FILTERS, _SIDE, _STRIDE, _CELLS = 128, 5, 2, 4
"""Random filters of 5 x 5 pixels, every second pixel, and the cells along each side over which each is averaged."""

_AT_ONCE = 64
_RIDGE = 0.03


def told_apart(real: Pixels, made: Pixels, labels: Labels) -> Interval:
    """Return how many of the answers are right, in per cent, with the 95 % interval; 50 is chance.

    real, made: (N, H, W, 3) uint8 each, of the same classes in the same order, `labels` (N,); N from FEWEST up

    The kernel of two pictures is twice as large where their classes are the same, so a picture of another class than it
    should be is told from a real one, too.
    """
    count = len(labels)
    seen = features(np.concatenate([real, made]))
    classes = np.concatenate([labels, labels])
    truth = np.repeat([1.0, -1.0], count)
    order = np.random.default_rng(0).permutation(count)
    learned, asked = (np.concatenate([half, half + count]) for half in (order[: count // 2], order[count // 2 :]))
    mean, scale = seen[learned].mean(0), seen[learned].std(0) + 1e-6
    seen = (seen - mean) / scale / np.sqrt(seen.shape[1])
    kernel = seen[learned] @ seen[learned].T * _alike(classes[learned], classes[learned])
    weights = np.linalg.solve(kernel + _RIDGE * np.eye(len(learned)), truth[learned])
    answers = (seen[asked] @ seen[learned].T * _alike(classes[asked], classes[learned])) @ weights
    return wilson(int((answers * truth[asked] > 0).sum()), len(asked))


def features(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Return what the judge sees of pictures (N, H, W, 3) uint8: (N, 2048), the same for one picture whatever the rest.

    Random filters, what of their answers is positive, and its mean over each of 4 x 4 cells (Jarrett et al. 2009 found
    that random filters so are nearly as good as learned ones). Pictures smaller than a filter are seen as they are.
    """
    if min(pixels.shape[1:3]) < _SIDE + _STRIDE * (_CELLS - 1):
        return pixels.reshape(len(pixels), -1) / 255.0
    filters = np.random.default_rng(1).normal(size=(_SIDE * _SIDE * 3, _FILTERS))
    filters = ((filters - filters.mean(0)) / _SIDE).astype(np.float32)
    parts = [pixels[start : start + _AT_ONCE] for start in range(0, len(pixels), _AT_ONCE)]
    return np.concatenate([_pooled(part, filters) for part in parts])


def _pooled(pixels: Pixels, filters: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (_SIDE, _SIDE), axis=(1, 2))
    patches = windows[:, ::_STRIDE, ::_STRIDE].astype(np.float32) / 255
    count, down, across = patches.shape[:3]
    found = np.maximum(patches.reshape(count * down * across, -1) @ filters, 0).reshape(count, down, across, -1)
    rows, columns = (np.linspace(0, side, _CELLS + 1).astype(int) for side in (down, across))
    cells = [
        found[:, top:bottom, left:right].mean((1, 2))
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]
    return np.asarray(np.concatenate(cells, axis=1), np.float64)


def _alike(one: Labels, other: Labels) -> npt.NDArray[np.float64]:
    return np.where(one[:, None] == other[None], 1.0, 0.5)
