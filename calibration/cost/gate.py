"""Limits on what a lowered model may cost before it is refused."""

import math

from lstn.calibration.cost.lowering_cost import ClassifierCost, DetectorCost, LoweringCost
from lstn.report.wording import counted

MIN_AGREEMENT = 0.95
"""Share of the images that must get the same answer as in float32, or of the objects or labels that must be found by
both."""

MAX_DROP = 2.0
"""Points of top-1 accuracy, or of average precision, that may be lost."""

MAX_DRIFT = 0.02
"""Share of the image's longer side by which 1 % of the warps may move, or more.

What trained models lost by default, in results/precision/precisions.md: 1.0 points, 2.8 % of the answers, no drift.
"""

_FEW = 2
"""Images, or objects, that never fail a model by default: of a few, each is several points."""

_ROUNDING = 1e-9


def beyond(cost: LoweringCost, *, max_drop: float | None = None, max_drift_px: float | None = None) -> str:
    """Say which bounds the cost is beyond, or return an empty text.

    max_drop:     in points of top-1 accuracy or average precision, exactly; None: MAX_DROP, with room for two images
                  or objects
    max_drift_px: of the 99th percentile over images, or what float32 finds; None: MAX_DRIFT, and for a detector none,
                  whose average precision counts how well boxes lie up to an overlap of 0.95
    """
    detects = isinstance(cost, DetectorCost)
    told = []
    score, room = next(iter(cost.scores.values())), _FEW / cost.judged
    drop = 100 * (score.reference - score.lowered)
    most = max(MAX_DROP, 100 * room) if max_drop is None else max_drop
    if drop > most + _ROUNDING:
        what = "top-1 accuracy" if isinstance(cost, ClassifierCost) else "average precision"
        told.append(f"{what} falls by {drop:.2f} points, more than {_named('--max-drop', max_drop)}{most:g}")
    changed, most = 1 - cost.agreement, max(1 - MIN_AGREEMENT, room)
    if changed > most + _ROUNDING:
        what = (
            f"only one of the two models finds {changed:.1%} of the objects"
            if detects
            else f"another answer than in float32 for {changed:.1%} of {_answers(cost)}"
        )
        told.append(f"{what}, more than {most:.1%}")
    usual = math.inf if detects else MAX_DRIFT * max(cost.contract.image_hw)
    furthest = usual if max_drift_px is None else max_drift_px
    if cost.drift is not None and cost.drift.p99_px > furthest:
        what = "objects" if detects else "warps"
        bound = f"{_named('--max-drift-px', max_drift_px)}{furthest:g}"
        told.append(f"1 % of the {what} move by {cost.drift.p99_px:.3f} px or more, more than {bound}")
    return "; ".join(told)


def _answers(cost: LoweringCost) -> str:
    return counted(cost.images, "image") if isinstance(cost, ClassifierCost) else "the labels"


def _named(option: str, given: float | None) -> str:
    return "" if given is None else f"{option} "
