"""Chance level: whether a model does better than one that always answers the commonest class. Free of torch."""

import math

_Z = 2.326
"""Of 99 %, one-sided."""

FEWEST_EPOCHS, FEWEST_STEPS = 2, 500
"""Before both are over a run isn't judged: large networks need that long to begin."""


def chance_level(commonest: float, images: int) -> float:
    """Return the accuracy, 0..1, that a model without any knowledge stays below in 99 of 100 tests.

    commonest: share of the commonest class among these images, 0..1
    """
    return min(1.0, commonest + _Z * math.sqrt(commonest * (1 - commonest) / images))


def at_chance(accuracy: float, level: float | None) -> bool:
    """Say whether an accuracy is at chance. None, of a run that doesn't say its level, and 1, of one class, aren't."""
    return level is not None and level < 1 and accuracy <= level


def chance_warning(accuracy: float) -> str:
    """Return what to say of a model at chance."""
    return (
        f"validation accuracy {accuracy:.1%} is at chance: always answering the commonest class may do as well, so "
        "this model is of no use"
    )


def chance_cure(lr: float | None = None, weights: str = "") -> str:
    """Return what to change in a new run; lr, weights: as the run has them, if that is known."""
    rate = f"a lower rate (--lr {lr / 5:g})" if lr else "a lower --lr"
    pretrained = "" if weights else ", --weights imagenet,"
    return f"start a new run with {rate}, more --epochs{pretrained or ','} or a smaller --model such as resnet-18"
