"""Chance level: whether a model does better than one that always answers the commonest class. Free of torch."""

import math

_Z = 2.326
"""Of 99 %, one-sided."""

_USUAL_RATES = 0.02
"""Up to here a fifth of a learning rate is one to try."""

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


def chance_cure(model: str = "", lr: float | None = None, weights: str = "") -> str:
    """Return what to change in a new run; model, lr, weights: as the run has them, if that is known."""
    if lr is None or not 0 < lr <= _USUAL_RATES:
        rate = "a lower --lr" if lr is None else "the recipe's own rate (leave out --lr)"
    else:
        rate = f"a lower rate (--lr {lr / 5:g})"
    others = [] if weights or model == "cnn" else ["--weights imagenet if there are such weights for its --model"]
    if model != "resnet-18":
        others.append(f"{'a larger' if model == 'cnn' else 'another'} --model such as resnet-18")
    return f"start a new run with {', '.join([rate, 'more --epochs', *others[:-1]])} or {others[-1]}"
