"""Asking of a model about images whose objects are known: each image decoded once, a batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lstn.data.objects import Objects, objects_of
from lstn.data.splits import Split
from lstn.evaluation.answer import Answers, Logits, check_finite
from lstn.machine.cores import decoders
from lstn.warps.warp import Theta


def asked(
    answers: Answers,
    images: Split,
    *,
    batch: int,
    advance: Callable[[int], None],
    chosen: Sequence[int] | None = None,
) -> Iterator[tuple[list[Objects], Logits, Theta | None]]:
    """Yield of each batch what is in its images, and what a model answers.

    answers: pixels (N, H, W, 3) -> logits and theta, both float32 and an entry for each image; no theta of some models
    advance: hears the number of images that were finished
    chosen:  which images; None: all

    Raises:
        ArtifactError: an answer is not finite.
        DataError: the images don't say what is in them.
    """
    every = range(len(images)) if chosen is None else chosen
    with ThreadPoolExecutor(decoders(None)) as pool:
        for start in range(0, len(every), batch):
            numbers = [int(number) for number in every[start : start + batch]]
            truths = list(pool.map(lambda number: objects_of(images, number), numbers))
            logits, theta = answers(np.stack([read for read, _ in pool.map(images.__getitem__, numbers)]))
            check_finite((logits, theta), numbers)
            yield truths, logits, theta
            advance(len(numbers))
