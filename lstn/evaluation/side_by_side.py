"""Models side by side: what each answers to the same images, how large it is, and how long it takes."""

from dataclasses import dataclass
from typing import Any

from lstn.evaluation.measuring import Evaluation, evaluation_report
from lstn.health.follow import judged_kinds, shown
from lstn.interval import Interval, mean_interval
from lstn.report.table import Table
from lstn.report.web_page import table_section, whole_page
from lstn.report.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class ModelFigures:
    """What one model came to.

    evaluation: on the images that all models answered
    megabytes:  of its files
    p50_ms, p99_ms: of a call
    ratio:      of its time to the first model's, paired; None for the first itself
    """

    evaluation: Evaluation
    megabytes: float
    p50_ms: float
    p99_ms: float
    ratio: Interval | None


@dataclass(frozen=True, slots=True, eq=False)
class SideBySide:
    """Models on the same images, timed in turn. batch: images a call"""

    models: tuple[ModelFigures, ...]
    batch: int
    where: str

    def points_of(self, model: ModelFigures) -> Interval:
        """Return how many points of accuracy a model has more than the first, paired by image."""
        pairs = zip(model.evaluation.confidence.right, self.models[0].evaluation.confidence.right, strict=True)
        return mean_interval([100.0 * (int(own) - int(first)) for own, first in pairs])


def side_table(found: SideBySide) -> Table:
    """Return a column for each model."""
    titles = ["top-1 %", "points against the first", "calibration error, points"]
    if any(each.evaluation.worst for each in found.models):
        titles.append("right under the worst move, %")
    if any(each.evaluation.follow for each in found.models):
        titles.append("follows turn, scale, shift")
    titles += ["size, MB", "p50, ms", "p99, ms", "time against the first"]
    columns = [_figures(found, each) for each in found.models]
    rows = [(title, *(figures.get(title, "") for figures in columns)) for title in titles]
    images = found.models[0].evaluation.scores.images
    note = (
        f"{counted(images, 'image')}, the same for all; {counted(found.batch, 'image')} a call, timed in turn. Points "
        "and times have 95 % intervals, paired by image and by round."
    )
    return Table("Side by side", ("", *(each.evaluation.source for each in found.models)), tuple(rows), 1, note)


def side_page(found: SideBySide) -> str:
    """Return all of it as one web page."""
    first = found.models[0].evaluation
    on = first.on(first.scores.images)
    return whole_page(
        f"{len(found.models)} models side by side", f"{on}; {found.where}", [table_section(side_table(found))]
    )


def side_report(found: SideBySide) -> dict[str, Any]:
    """Return all of it for JSON."""
    models = []
    for each in found.models:
        points, ratio = found.points_of(each), each.ratio
        times = {"p50_ms": each.p50_ms, "p99_ms": each.p99_ms, "ratio": None if ratio is None else _bounds(ratio)}
        models.append(
            evaluation_report(each.evaluation) | {"points": _bounds(points), "megabytes": each.megabytes, **times}
        )
    return {"compared": models, "batch": found.batch, "machine": found.where}


def _figures(found: SideBySide, model: ModelFigures) -> dict[str, str]:
    """Return what the table says of a model, by the titles of its rows."""
    evaluation, moved, follow = model.evaluation, model.evaluation.worst, model.evaluation.follow
    figures = {
        "top-1 %": f"{100 * evaluation.scores.top1_share:.2f}",
        "calibration error, points": f"{100 * evaluation.confidence.error:.1f}",
        "size, MB": f"{model.megabytes:.1f}",
        "p50, ms": f"{model.p50_ms:.3g}",
        "p99, ms": f"{model.p99_ms:.3g}",
    }
    if moved is not None:
        figures["right under the worst move, %"] = f"{100 * moved.worst / moved.images:.1f}"
    if follow is not None:
        figures["follows turn, scale, shift"] = ", ".join(shown(each["value"]) for _, each in judged_kinds(follow))
    if model.ratio is not None:  # the first has none
        figures["points against the first"] = str(found.points_of(model))
        figures["time against the first"] = str(model.ratio)
    return figures


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
