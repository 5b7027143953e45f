"""Liveness of a transformer, judged from what `lstn.train.watch.probe` sees after an epoch. Free of torch."""

import math
from typing import Literal, TypeAlias, TypedDict

from lstn.contract import UNBOUNDED, Contract, Loc, ThetaForm
from lstn.health.follow import Follow, brief, follows
from lstn.health.pose_error import PoseError
from lstn.untrusted.checked_json import Count, Magnitude, Share

State: TypeAlias = Literal["live", "starting", "not following", "idle", "dead", "runaway"]
"""starting: too early to say; idle: theta doesn't depend on the image, though it could; not following: it does, but not
on where and how the object lies, so that a moved object stays moved in the crop; the rest is what it says."""

LEAST_GRADIENT = 1e-3
"""Share of the gradient's norm below which the localizer isn't trained.

Seen: 0.52 to 0.99 in live runs (digits, GTSRB), and still 0.17 to 0.8 in one that had died of its hidden units, whose
bias goes on learning. Thrown away output gives 0. So this tells a cut connection, or a saturated bound; no less.
"""

LEAST_SPREAD_PX = 0.05
"""Spread below which theta doesn't depend on the image by anything that a bilinear sampler would show.

Seen: 0.17 and 0.2 px after the first epoch of the slowest live runs (L-STN on digits and on GTSRB, --loc-lr-scale 0.1),
0.7 to 18 px at the end of live ones; 0.002 to 0.06 px in V-STNs on digits that never did any good (seeds 1 and 2), and
in an STN on images that need no warp.
"""

SAME_PX = 1e-3
"""Spread below which the localizer's hidden units are all at zero, and theta is a bias.

Seen: V-STN on digits, 0.04, 0.01, 0.007 and 0.005 px, and from the fifth epoch on exactly 0: each of its 32 hidden
units is 0 for every image. At a fifth of the learning rate it died an epoch later; L-STN and STN, trained alike, live.
"""

STARTING_EPOCHS, STARTING_STEPS = 2, 200
"""Until both are over, theta may still be the same for every image: it starts so, and a warm-up keeps it there longer.

Seen: the slowest live runs had left LEAST_SPREAD_PX behind after 76 and 129 steps, their first epoch.
"""

IDENTICAL_PX = 1.0
"""Spread below which a transformer whose warp changes no answer is as good as none: it moves by less than a pixel.

Seen: 0.25 px, and the same accuracy with the identity and with another image's theta, in an EfficientNet on digits.
"""

MOST_OUTSIDE = 0.8
"""Share of the output that may lie outside of the frame.

Seen: up to 0.34 in live runs on digits, whose transformer draws small, lost digits to the middle at the cost of black
margins. An image shrunk to half its size has 0.75; beyond that the backbone sees little but black.
"""


class Vitals(TypedDict):
    """What can be seen of a transformer on a few validation images.

    images:            how many
    gradient_share:    norm of the loss's gradient to the localizer over that to all weights, 0..1; None if all are 0
    spread_px:         root mean square distance of the crop's corners from their mean over images, in input pixels
    displacement_px:   mean distance of the crop's corners from the image's, in input pixels
    moved_px:          mean distance of the crop's corners from where they began, in input pixels
    outside_share:     share of the output that is sampled outside of the frame, 0..1
    accuracy:          share of these images that is classified rightly, of a model that tags of their labels, 0..1
    accuracy_identity: the same with the identity for theta
    accuracy_swapped:  the same with the theta of another image
    follow:            how much of known moves of an image its crop follows; None where too few images or an older
                       lstn didn't measure it
    pose:              how far the crops are from the true poses; None where the set knows none
    """

    images: Count
    gradient_share: Share | None
    spread_px: Magnitude
    displacement_px: Magnitude
    moved_px: Magnitude
    outside_share: Share
    accuracy: Share
    accuracy_identity: Share
    accuracy_swapped: Share
    follow: Follow | None
    pose: PoseError | None


class Health(Vitals):
    """The same, judged. warning and cure are empty for a transformer that is live or starting."""

    state: State
    warning: str
    cure: str


def judged(vitals: Vitals, contract: Contract, *, epoch: int, steps: int, moved: bool = False) -> Health:
    """Judge what was seen of the model that `contract` describes, after `epoch`, which counts from 1, and so many steps
    of the optimizer in all. A cure never proposes what the model is already.

    moved: whether it is trained on moved pictures, to follow
    """
    starting = epoch <= STARTING_EPOCHS or steps < STARTING_STEPS
    state, warning, cure = _verdict(vitals, contract, starting=starting, moved=moved)
    return Health(**vitals, state=state, warning=warning, cure=cure)


def _verdict(seen: Vitals, contract: Contract, *, starting: bool, moved: bool) -> tuple[State, str, str]:
    # Runaway first: outside of the frame there is no gradient either.
    bounded = f"start a new run with a lower --loc-lr-scale{_TIGHTER[contract.theta]}"
    if seen["outside_share"] > MOST_OUTSIDE:
        return "runaway", f"{seen['outside_share']:.0%} of what it samples is outside of the frame", bounded
    # A crop within the frame can't be that far from it, and neither can one of two or three times the frame's size:
    # single images have left, whatever the others do.
    if seen["displacement_px"] > math.hypot(*contract.image_hw):
        return "runaway", f"corners are {seen['displacement_px']:.0f} pixels from the image's on average", bounded
    useless = seen["spread_px"] < IDENTICAL_PX and _changes_nothing(seen)
    cut_off = seen["gradient_share"] is not None and seen["gradient_share"] < LEAST_GRADIENT
    moves = seen["spread_px"] >= LEAST_SPREAD_PX and not useless and not cut_off
    if moves and (seen["follow"] is None or follows(seen["follow"])):
        return "live", "", ""
    if starting:
        return "starting", "", ""
    if moves and seen["follow"] is not None:
        return (
            "not following",
            f"of a moved object its crop follows {brief(seen['follow'])}, where 1 is all of the move and 0 is none",
            ("give it more --epochs or more images" if moved else _TO_FOLLOW)
            + "; --loc none shows what the transformer is worth",
        )
    if cut_off:
        return "dead", f"{seen['gradient_share']:.1e} of the gradient reaches the localizer", _reconnect(contract)
    if seen["spread_px"] >= LEAST_SPREAD_PX:
        return (
            "idle",
            f"theta differs by {seen['spread_px']:.2g} pixels from image to image, and accuracy is the same without it",
            "the images may need no warp: compare with --loc none; or start a new run with a higher --loc-lr-scale",
        )
    if seen["moved_px"] < LEAST_SPREAD_PX:
        return "dead", "theta is still where it began, for every image", "start a new run with a higher --loc-lr-scale"
    if seen["spread_px"] < SAME_PX:
        return (
            "dead",
            "theta is the same for every image",
            f"the localizer's hidden units have died and don't come back: {_livelier(contract.loc)}",
        )
    other = "" if contract.loc is Loc.LSTN else ", or with --loc lstn"
    return (
        "idle",
        f"theta is the same for every image, to {seen['spread_px']:.1g} pixels",
        f"if that lasts, start a new run with a higher --loc-lr-scale{other}; if it stays so, the images may need no "
        "warp: compare with --loc none",
    )


def _changes_nothing(seen: Vitals) -> bool:
    """Whether as many images are recognised with the identity, and with another image's theta; a few are noise."""
    noise = max(2 / seen["images"], 0.01)
    return max(abs(seen["accuracy"] - seen[other]) for other in ("accuracy_identity", "accuracy_swapped")) <= noise


def _reconnect(contract: Contract) -> str:
    """What brings the gradient back: a control has none by its making; a bounded theta may be stuck at its bounds."""
    if contract.loc is Loc.DEAD:
        return "none: this control drops what its transformer returns, to be compared with; use --loc lstn or stn"
    stuck = "theta is stuck at its bounds: " if contract.theta not in UNBOUNDED else ""
    return f"{stuck}start a new run with a lower --loc-lr-scale"


_TO_FOLLOW = "start a new run with --equivariance 10 --loc-lr-scale 1, which trains it to follow, or more --epochs"

_TIGHTER = {
    **dict.fromkeys(UNBOUNDED, ", or with a bounded theta: --theta crop, or similarity"),
    ThetaForm.SIMILARITY: ", or with --theta crop, which can't leave the frame",
    ThetaForm.CROP: "",
    ThetaForm.POLAR: "",
}


def _livelier(loc: Loc) -> str:
    if loc in (Loc.LSTN, Loc.GLANCE):
        return "start a new run with a lower --loc-lr-scale, or with --loc stn"
    other = "" if loc is Loc.STN else ", or with --loc stn"
    return f"start a new run with --loc lstn, whose BatchNorm keeps them going{other}"
