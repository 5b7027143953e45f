"""Painting of many pictures by an engine, batch by batch."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lstn.runtime.engines.generator_engines import ClassNumbers, GeneratorEngine, NoiseArray
from lstn.synthesis.painted_folder import Painting

BATCH = 64
"""Pictures a call."""


def paint_pictures(
    engine: GeneratorEngine,
    labels: Sequence[int],
    *,
    seed: int,
    batch: int = BATCH,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Painting]:
    """Yield a picture of each of these classes, in order; `advance` hears how many are done.

    A picture depends on its place, its class and the seed alone: neither on the batch nor on how many there are.
    """
    for start in range(0, len(labels), batch):
        classes = np.array(labels[start : start + batch], np.int64)
        found = engine.generate(noise_of(range(start, start + len(classes)), engine.contract.noise, seed), classes)
        for place, label in enumerate(classes.tolist()):
            yield found.pixels[place], label, None if found.theta is None else found.theta[place]
        advance(len(classes))


def noise_of(places: Sequence[int], numbers: int, seed: int) -> NoiseArray:
    """Return the noise of pictures at these places of a series: (N, numbers) float32."""
    drawn = [np.random.default_rng([seed, place]).standard_normal(numbers, np.float32) for place in places]
    return np.stack(drawn)


def in_turn(count: int, classes: Sequence[int]) -> ClassNumbers:
    """Return `count` classes in turn: as many of one as of another, or one more."""
    return np.array([classes[place % len(classes)] for place in range(count)], np.int64)
