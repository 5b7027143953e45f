"""Limits on what a lowered model may cost before it is refused."""

from lstn.calibration.lowering_cost import LoweringCost
from lstn.report.wording import counted

MIN_AGREEMENT = 0.95
"""Share of the images that must get the same answer as in float32."""

MAX_DROP = 2.0
"""Points of top-1 accuracy that may be lost."""

MAX_DRIFT = 0.02
"""Share of the image's longer side by which 1 % of the warps may move, or more.

What trained models lost by default, in results/precision/precisions.md: 1.0 points, 2.8 % of the answers, no drift.
"""

_FEW = 2
"""Images that never fail a model by default: of a few images, each is several points."""

_ROUNDING = 1e-9


def beyond(cost: LoweringCost, *, max_drop: float | None = None, max_drift_px: float | None = None) -> str:
    """Say which bounds the cost is beyond, or return an empty text.

    max_drop:     in points of top-1 accuracy, exactly; None: MAX_DROP, with room for two images
    max_drift_px: of the 99th percentile over images; None: MAX_DRIFT
    """
    told = []
    drop = 100 * (cost.top1.reference - cost.top1.lowered)
    most = max(MAX_DROP, 100 * _FEW / cost.images) if max_drop is None else max_drop
    if drop > most + _ROUNDING:
        told.append(f"top-1 accuracy falls by {drop:.2f} points, more than {_named('--max-drop', max_drop)}{most:g}")
    changed, most = 1 - cost.agreement, max(1 - MIN_AGREEMENT, _FEW / cost.images)
    if changed > most + _ROUNDING:
        told.append(
            f"another answer than in float32 for {changed:.1%} of {counted(cost.images, 'image')}, more than {most:.1%}"
        )
    furthest = MAX_DRIFT * max(cost.contract.image_hw) if max_drift_px is None else max_drift_px
    if cost.drift is not None and cost.drift.p99_px > furthest:
        bound = f"{_named('--max-drift-px', max_drift_px)}{furthest:g}"
        told.append(f"1 % of the warps move by {cost.drift.p99_px:.3f} px or more, more than {bound}")
    return "; ".join(told)


def _named(option: str, given: float | None) -> str:
    return "" if given is None else f"{option} "
