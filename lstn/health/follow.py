"""Follow as runs and reports say it: how much of a known move of the picture a transformer's crop follows."""

from typing import TypedDict

from lstn.untrusted.checked_json import Count, Finite


class Followed(TypedDict):
    """Follow of one kind of move.

    value:     0: ignores the move; 1: follows it; noise may take it a little outside
    low, high: 95 % interval over pictures
    residual:  root mean square of what the slope doesn't explain, in one answer: degrees for rotation, per cent of the
               crop's side for scale, pixels of the input for shift
    """

    value: Finite
    low: Finite
    high: Finite
    residual: Finite


class Follow(TypedDict):
    """Follow of each kind of move on so many images. rotation is None for a theta that can't turn (crop, polar)."""

    images: Count
    rotation: Followed | None
    scale: Followed | None
    shift: Followed | None


UNITS = {"rotation": "°", "scale": " %", "shift": " px"}
"""Of residuals."""


LEAST_FOLLOW = 0.1
"""Follow of some kind below which a transformer doesn't follow its object, whatever else theta depends on."""


def follows(found: Follow) -> bool:
    """Say whether any kind of move is followed, by more than chance."""
    kinds = (found["rotation"], found["scale"], found["shift"])
    return any(each is not None and each["value"] >= LEAST_FOLLOW and each["low"] > 0 for each in kinds)


def brief(found: Follow) -> str:
    """Return it in a few words: `rotation 0.82, scale 0.90, shift 0.97`."""
    return ", ".join(f"{name} {shown(each['value'])}" for name, each in judged_kinds(found))


def in_detail(found: Follow) -> str:
    """Return it with its intervals and residuals."""
    parts = [
        f"{name} {shown(each['value'])} ({shown(each['low'])} to {shown(each['high'])}; the rest "
        f"{each['residual']:.2g}{UNITS[name]})"
        for name, each in judged_kinds(found)
    ]
    return ", ".join(parts)


def judged_kinds(found: Follow) -> list[tuple[str, Followed]]:
    """Return the kinds of move that theta could answer, by name."""
    kinds = {"rotation": found["rotation"], "scale": found["scale"], "shift": found["shift"]}
    return [(name, each) for name, each in kinds.items() if each is not None]


def shown(value: float) -> str:
    """Return a follow in two decimals."""
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00")
