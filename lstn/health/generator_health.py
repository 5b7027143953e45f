"""Health of a generator in training: whether it and its discriminator still teach each other. Free of torch."""

from typing import Literal, TypeAlias, TypedDict

from lstn.untrusted.checked_json import Count, Magnitude, Share

GeneratorState: TypeAlias = Literal["live", "starting", "collapsed", "overpowered", "one place"]
"""starting: too early to say; collapsed: it paints nearly the same picture whatever the noise; overpowered: the
discriminator is never wrong, so it teaches nothing; one place: objects do not move."""

LEAST_DIVERSITY = 0.5
"""Of real pictures' distances from each other, below which a class has collapsed."""

MOST_TOLD = 0.98
"""Share of the discriminator's answers in training that may be right: with more, its gradient at the pictures fades."""

LEAST_PLACE_SPREAD_PX = 0.5
"""Spread of an object's corners below which nobody would see it move."""

STARTING_EPOCHS, STARTING_STEPS = 3, 600
"""Until both are over, a generator may still paint much the same."""


class Variety(TypedDict):
    """How different the pictures of one generator are.

    images:    how many were looked at
    diversity: the mean distance between two pictures of a class, over that of real ones: the mean over classes. 1 is as
               different as real ones, 0 is one picture for each class
    least_diversity: the same of the class with the least; least_class: its name
    spread_px: root mean square distance of the object's corners from their mean over pictures; None without a place
    """

    images: Count
    diversity: Magnitude
    least_diversity: Magnitude
    least_class: str
    spread_px: Magnitude | None


class GeneratorHealth(Variety):
    """What is seen of a generator after an epoch, judged; warning and cure are empty where nothing is wrong.

    told_apart: share of the discriminator's answers that were right in training, 0..1
    """

    told_apart: Share
    state: GeneratorState
    warning: str
    cure: str


def judged_generator(seen: Variety, told_apart: float, *, epoch: int, steps: int) -> GeneratorHealth:
    """Judge what was seen after `epoch`, which counts from 1, and so many steps of the optimizer in all."""
    state, warning, cure = _verdict(seen, told_apart, starting=epoch < STARTING_EPOCHS or steps < STARTING_STEPS)
    return GeneratorHealth(**seen, told_apart=min(1.0, told_apart), state=state, warning=warning, cure=cure)


def _verdict(seen: Variety, told_apart: float, *, starting: bool) -> tuple[GeneratorState, str, str]:
    if starting:
        return "starting", "", ""
    if told_apart > MOST_TOLD:
        return (
            "overpowered",
            f"the discriminator tells {told_apart:.1%} of the pictures rightly, so it teaches the generator nothing",
            "start a new run with a lower --lr, or with more images: a discriminator that knows few by heart is never "
            "wrong",
        )
    if seen["least_diversity"] < LEAST_DIVERSITY:
        return (
            "collapsed",
            f"pictures of class {seen['least_class']!r:.40} differ from each other by {seen['least_diversity']:.0%} of "
            "what real ones do",
            "start a new run with a lower --lr, or a larger --batch-size",
        )
    if seen["spread_px"] is not None and seen["spread_px"] < LEAST_PLACE_SPREAD_PX:
        return (
            "one place",
            f"objects differ in place and size by {seen['spread_px']:.2g} pixels from picture to picture",
            "the set's objects may all be in one place: compare with --loc none; or start a new run with a higher "
            "--loc-lr-scale",
        )
    return "live", "", ""


def describe_generator(seen: GeneratorHealth) -> list[str]:
    """Return what was seen after the last epoch, in a few lines."""
    lines = [f"generator: {seen['state']}" + (f": {seen['warning']}" if seen["warning"] else "")]
    if seen["cure"]:
        lines.append(f"  likely cure: {seen['cure']}")
    lines.append(f"discriminator: right about {seen['told_apart']:.1%} of the pictures in training; 50 % is chance")
    least = f"least in class {seen['least_class']!r:.40}, {seen['least_diversity']:.0%}"
    lines.append(f"diversity: pictures of a class differ by {seen['diversity']:.0%} of what real ones do; {least}")
    if seen["spread_px"] is not None:
        lines.append(f"place: corners of objects lie {seen['spread_px']:.1f} px around their mean over pictures")
    return lines
