"""One pass over labelled images, as they are and disturbed: what any model answers, whatever computes it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.data.dataset import Split
from lstn.evaluation.answer import Answers, check_finite
from lstn.evaluation.confidence import (
    Confidence,
    ConfidenceTally,
    confidence_report,
    confidence_table,
    rejection_table,
    reliability_section,
)
from lstn.evaluation.disturb import UNITS as MOVE_UNITS
from lstn.evaluation.disturb import Disturbance
from lstn.evaluation.evaluated_file import EvaluatedFile
from lstn.evaluation.measured_follow import Locate
from lstn.evaluation.scores import Scores, Tally, class_table, confusion_table, wilson
from lstn.evaluation.top_losses import LossRanking, ShownMistake, mistakes_report, mistakes_section
from lstn.evaluation.worst_case import WorstCase, worst_table
from lstn.health.follow import UNITS, Follow, judged_kinds, shown
from lstn.health.pose_error import PoseError
from lstn.images import Pixels
from lstn.interval import Interval
from lstn.machine.cores import decoders
from lstn.report.charts import Point, lines
from lstn.report.table import Table
from lstn.report.web_page import figure, section, table_section, whole_page
from lstn.report.wording import counted

Classify: TypeAlias = Callable[[Pixels], npt.NDArray[np.float32]]
"""(N, H, W, 3) uint8 -> logits (N, K) float32."""


@dataclass(frozen=True, slots=True)
class Answering:
    """What a model answers, whatever computes it.

    both:     pixels -> logits and theta, no theta without a transformer
    classify: pixels -> logits
    locate:   pixels -> theta; None without a transformer
    """

    both: Answers
    classify: Classify
    locate: Locate | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation(EvaluatedFile):
    """What a model came to: on the images as they are, and under each disturbance.

    confidence: how sure its answers are, and which are right
    follow: how much of known moves of these images the transformer follows; None without one
    pose:   how far its crops are from the true poses of these images; None without one, or where no pose is known
    worst:  what the worst of many moves of each image costs; None if nobody asked
    top_losses: the wrong answers with the largest losses, as many as were asked for
    reject_below: a probability that somebody asked about
    """

    scores: Scores
    disturbed: tuple[tuple[Disturbance, Scores], ...]
    confidence: Confidence
    follow: Follow | None = None
    pose: PoseError | None = None
    worst: WorstCase | None = None
    top_losses: tuple[ShownMistake, ...] = ()
    reject_below: float | None = None


def score(
    classify: Classify,
    images: Split,
    labels: tuple[str, ...],
    disturbances: Sequence[Disturbance],
    *,
    batch: int,
    advance: Callable[[int], None],
    chosen: Sequence[int] | None = None,
    ranking: LossRanking | None = None,
    confidence: ConfidenceTally | None = None,
) -> list[Scores]:
    """Return the scores on the images as they are, and then those under each disturbance.

    Every image is decoded once. `advance` hears the number of images that were finished. `chosen` says which images,
    all by default. `ranking` and `confidence` hear the answers to the images as they are.

    Raises:
        ArtifactError: a logit is not finite.
    """
    tallies = [Tally(labels) for _ in range(1 + len(disturbances))]
    with ThreadPoolExecutor(decoders(None)) as pool:
        every = range(len(images)) if chosen is None else chosen
        for start in range(0, len(every), batch):
            numbers = [int(number) for number in every[start : start + batch]]
            read = list(pool.map(images.__getitem__, numbers))
            truth = [label for _, label in read]
            plain = [pixels for pixels, _ in read]
            for tally, disturbance in zip(tallies, (None, *disturbances), strict=True):
                seen = plain if disturbance is None else list(pool.map(disturbance.apply, plain, numbers))
                logits = classify(np.stack(seen))
                check_finite((logits,), numbers)
                tally.add(logits, truth)
                if ranking is not None and disturbance is None:
                    ranking.add(numbers, logits, truth)
                if confidence is not None and disturbance is None:
                    confidence.add(logits, truth)
            advance(len(read))
    return [tally.scores() for tally in tallies]


def accuracy_table(evaluation: Evaluation) -> Table:
    """Return top-1 and top-5 accuracy of the images as they are, and under each disturbance."""
    plain = wilson(evaluation.scores.right, evaluation.scores.images)
    rows = [_accuracy("as they are", evaluation.scores, plain)]
    for each, scores in evaluation.disturbed:
        rows.append(_accuracy(disturbance_name(each), scores, plain))
    columns = (evaluation.kind, "top-1 %", "points", "95 % interval", "top-5 %")
    note = f"{evaluation.scores.images} {evaluation.kind} of {evaluation.data}."
    if evaluation.disturbed:
        used = dict.fromkeys(each.kind for each, _ in evaluation.disturbed)
        note += " " + "; ".join(f"{kind.value}: {MOVE_UNITS[kind]}" for kind in used) + "."
    return Table(f"{evaluation.source}: accuracy", columns, tuple(rows), 1, note)


def follow_table(follow: Follow) -> Table:
    """Return a row for each kind of move: how much of it the transformer follows."""
    rows = [
        (
            name,
            shown(each["value"]),
            f"{shown(each['low'])} to {shown(each['high'])}",
            f"{each['residual']:.2g}{UNITS[name]}",
        )
        for name, each in judged_kinds(follow)
    ]
    note = (
        f"{counted(follow['images'], 'image')}, each turned, scaled and shifted by known amounts. 1: the crop moves "
        "with the object; 0: it ignores the move. The rest is what the crop moves otherwise, root mean square."
    )
    return Table("Follow of known moves", ("move", "follow", "95 % interval", "the rest"), tuple(rows), 1, note)


def pose_table(pose: PoseError) -> Table:
    """Return how far the crops are from the true poses, a row for each figure."""
    rows = [
        ("centre error, median", f"{pose['centre_px']:.2f} px"),
        ("the same, of the object's side", f"{pose['centre_share']:.1%}"),
        ("overlap of crop and object, mean", f"{pose['overlap']:.3f}"),
    ]
    if pose["rotation_deg"] is not None:
        rows.insert(0, ("residual rotation, median", f"{pose['rotation_deg']:.1f}°"))
    note = (
        f"{counted(pose['images'], 'image')} whose true pose is known. Rotation is without the slant that a class has "
        "in all of its crops. Overlap is the intersection over the union."
    )
    return Table("Crops against true poses", ("", "error"), tuple(rows), 1, note)


def disturbance_name(disturbance: Disturbance) -> str:
    """Return what a table calls a disturbance, such as `rotate 30`."""
    return f"{disturbance.kind.value} {disturbance.amount:g}"


def evaluation_report(evaluation: Evaluation) -> dict[str, Any]:
    """Return all of it for JSON."""
    sweeps = [
        {"kind": each.kind.value, "amount": each.amount, **_summary(scores)} for each, scores in evaluation.disturbed
    ]
    interval = _summary(evaluation.scores)["top1_interval"]
    whole = evaluation.scores.to_dict() | {"top1_interval": interval}
    follow = {} if evaluation.follow is None else {"follow": evaluation.follow}
    pose = {} if evaluation.pose is None else {"pose": evaluation.pose}
    losses = {} if not evaluation.top_losses else {"top_losses": mistakes_report(evaluation.top_losses)}
    worst = {} if evaluation.worst is None else {"worst": evaluation.worst.to_dict()}
    sure = {"confidence": confidence_report(evaluation.confidence, evaluation.reject_below)}
    return {**evaluation.head(), **whole, **sure, "disturbed": sweeps, **worst, **follow, **pose, **losses}


def evaluation_page(evaluation: Evaluation) -> str:
    """Return all of it as one web page."""
    scores = evaluation.scores
    sections = [table_section(accuracy_table(evaluation))]
    if curves := _curves(evaluation):
        sections.append(section("Accuracy against the disturbance", f'<div class="pictures">{curves}</div>'))
    sections.append(table_section(confidence_table(evaluation.confidence)))
    sections.append(table_section(rejection_table(evaluation.confidence, evaluation.reject_below)))
    sections.append(reliability_section(evaluation.confidence))
    if evaluation.worst is not None:
        sections.append(table_section(worst_table(evaluation.worst)))
    if evaluation.follow is not None:
        sections.append(table_section(follow_table(evaluation.follow)))
    if evaluation.pose is not None:
        sections.append(table_section(pose_table(evaluation.pose)))
    if evaluation.top_losses:
        sections.append(mistakes_section(evaluation.top_losses))
    if (worst := confusion_table(scores, 20)).rows:
        sections.append(table_section(worst))
    sections.append(table_section(class_table(scores)))
    return whole_page(f"Evaluation of {evaluation.source}", evaluation.where(scores.images), sections)


def _curves(evaluation: Evaluation) -> str:
    """One curve for each kind of disturbance, the images as they are among its points."""
    figures = []
    for kind in dict.fromkeys(each.kind for each, _ in evaluation.disturbed):
        among = {each.amount: scores for each, scores in evaluation.disturbed if each.kind is kind}
        among.setdefault(kind.leaves, evaluation.scores)
        style = evaluation.contract.loc.value
        points = [Point(amount, wilson(each.right, each.images), style, "") for amount, each in among.items()]
        curve = lines({"": points}, x_title=f"{kind.value}: {MOVE_UNITS[kind]}", y_title="top-1 %")
        figures.append(figure(curve, f"Top-1 accuracy against {kind.value}; bars are 95 % intervals."))
    return "".join(figures)


def _accuracy(name: str, scores: Scores, plain: Interval) -> tuple[str, ...]:
    """A row; its last cell says how many points this is from the images as they are."""
    interval = wilson(scores.right, scores.images)
    bounds = f"{interval.low:.1f} to {interval.high:.1f}"
    points = interval.value - plain.value
    change = "" if points == 0 else f"{points:+.1f}"
    return name, f"{interval.value:.2f}", change, bounds, f"{100 * scores.top5_share:.2f}"


def _summary(scores: Scores) -> dict[str, Any]:
    interval = wilson(scores.right, scores.images)
    bounds = [interval.low / 100, interval.high / 100]
    return {"images": scores.images, "top1": scores.top1_share, "top1_interval": bounds, "top5": scores.top5_share}
