"""One pass over images whose objects are known: what a detector answers, its average precision, tables and a page."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lstn.contract import ThetaForm
from lstn.data.objects import Objects
from lstn.data.splits import Split
from lstn.detection.average_precision import (
    MEDIUM_PX,
    SMALL_PX,
    AveragePrecision,
    ClassPrecision,
    average_precision,
)
from lstn.detection.suppression import LEAST_SCORE, Detection, detections
from lstn.errors import ArtifactError
from lstn.evaluation.answer import Answers, Logits
from lstn.evaluation.asking import asked
from lstn.evaluation.evaluated_file import EvaluatedFile
from lstn.interval import Interval
from lstn.report.charts import Point, lines
from lstn.report.table import Table
from lstn.report.web_page import figure, section, table_section, whole_page
from lstn.report.wording import counted
from lstn.warps.warp import Theta


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """How good a detector is on images whose objects are known.

    images, objects: how many there were
    image_hw: of the pictures that the model sees, in whose pixels sizes are
    upright:  boxes around the quadrilaterals compared, as COCO does
    turned:   the quadrilaterals compared, exactly
    """

    images: int
    objects: int
    image_hw: tuple[int, int]
    upright: AveragePrecision
    turned: AveragePrecision

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """Return `to_dict` as one JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False) + "\n"

    def of(self, form: ThetaForm) -> AveragePrecision:
        """Return what a detector whose boxes have this form is judged by: `turned`, of upright ones `upright`."""
        return self.upright if form is ThetaForm.CROP else self.turned


@dataclass(frozen=True, slots=True, eq=False)
class DetectionEvaluation(EvaluatedFile):
    """What a detector came to on images of a data set."""

    scores: DetectionScores


def detect_all(
    answers: Answers,
    images: Split,
    labels: tuple[str, ...],
    *,
    batch: int,
    advance: Callable[[int], None],
    chosen: Sequence[int] | None = None,
) -> list[tuple[Objects, tuple[Detection, ...]]]:
    """Return for each image the objects that are there and those that were found, each image decoded once.

    answers: pixels (N, H, W, 3) -> logits (N, K, C + 1) and theta (N, K, 2, 3), both float32
    advance: hears the number of images that were finished
    chosen:  which images; None: all

    Raises:
        ArtifactError: an answer is not finite, or not of these shapes.
        DataError: the images don't say where their objects are.
    """
    found = []
    for truths, logits, theta in asked(answers, images, batch=batch, advance=advance, chosen=chosen):
        both = zip(*_regions(logits, theta, len(labels)), strict=True)
        found += [
            (truth, detections(*each, labels, least=LEAST_SCORE)) for truth, each in zip(truths, both, strict=True)
        ]
    return found


def score_detections(
    found: Sequence[tuple[Objects, Sequence[Detection]]], labels: tuple[str, ...], image_hw: tuple[int, int]
) -> DetectionScores:
    """Return the average precision of what `detect_all` found.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    truths, answered = [truth for truth, _ in found], [each for _, each in found]
    upright, turned = (average_precision(truths, answered, labels, image_hw, turned=each) for each in (False, True))
    return DetectionScores(len(found), sum(map(len, truths)), image_hw, upright, turned)


def _regions(logits: Logits, theta: Theta | None, classes: int) -> tuple[Logits, Theta]:
    """Return a detector's answers; refuse those of another model."""
    shape = None if theta is None else theta.shape
    if theta is None or logits.ndim != 3 or logits.shape[2] != classes + 1 or shape != (*logits.shape[:2], 2, 3):
        raise ArtifactError(
            f"the model answers logits {logits.shape} and theta {shape}; expected (N, K, {classes + 1}) and "
            "(N, K, 2, 3)",
            hint="name a model that was trained to detect",
        )
    return logits, theta


def precision_table(evaluation: DetectionEvaluation) -> Table:
    """Return COCO's figures: a row for upright boxes, and one for turned ones."""
    scores = evaluation.scores
    high, wide = scores.image_hw
    rows = tuple(
        (name, *map(percent, (each.ap, each.ap50, each.ap75, each.small, each.medium, each.large)))
        for name, each in (("upright", scores.upright), ("turned", scores.turned))
    )
    note = (
        f"{counted(scores.objects, 'object')} in {scores.images} {evaluation.kind} of {evaluation.data}. AP is "
        "the mean over overlaps from 0.50 to 0.95; upright compares the boxes around objects, turned the objects' own "
        f"quadrilaterals. Small: less area than {SMALL_PX} x {SMALL_PX} pixels of the picture that the model sees, "
        f"which has {wide} x {high}; large: more than {MEDIUM_PX} x {MEDIUM_PX}."
    )
    columns = ("boxes", "AP %", "AP50 %", "AP75 %", "small %", "medium %", "large %")
    return Table(f"{evaluation.source}: average precision", columns, rows, 1, note)


def class_precision_table(scores: DetectionScores, most: int | None = None) -> Table:
    """Return a row for each class that the images show, worst first; `most` leaves out the rest."""
    pairs = [pair for pair in zip(scores.upright.classes, scores.turned.classes, strict=True) if pair[0].objects]
    pairs.sort(key=lambda pair: pair[0].ap or 0.0)
    rows = tuple(_class_row(*pair) for pair in pairs[:most])
    unseen = len(scores.upright.classes) - len(pairs)
    left_out = len(pairs) - len(rows)
    notes = [f"{counted(left_out, 'better class', 'are')} left out."] if left_out else []
    notes += [f"The images show no object of {counted(unseen, 'class')}."] if unseen else []
    columns = ("class", "objects", "AP %", "AP50 %", "AP turned %", "AP50 turned %")
    title = f"The {counted(len(rows), 'worst class')}" if left_out else "Every class, worst first"
    return Table(title, columns, rows, 1, " ".join(notes))


def detection_report(evaluation: DetectionEvaluation) -> dict[str, Any]:
    """Return all of it for JSON."""
    return {**evaluation.head(), **evaluation.scores.to_dict()}


def detection_page(evaluation: DetectionEvaluation) -> str:
    """Return all of it as one web page."""
    scores = evaluation.scores
    sections = [table_section(precision_table(evaluation))]
    if scores.upright.curve:
        sections.append(section("Precision against recall", f'<div class="pictures">{_curves(evaluation)}</div>'))
    sections.append(table_section(class_precision_table(scores)))
    return whole_page(f"Detection by {evaluation.source}", evaluation.where(scores.images), sections)


def _curves(evaluation: DetectionEvaluation) -> str:
    """Precision at recalls of 0, 20, … 100 %, at an overlap of 0.5, the mean over classes."""
    figures = []
    for name, each in (("upright boxes", evaluation.scores.upright), ("turned boxes", evaluation.scores.turned)):
        points = [
            Point(recall, Interval(*[100 * each.curve[recall]] * 3), evaluation.contract.loc.value, "")
            for recall in range(0, 101, 20)
        ]
        drawn = lines({"": points}, x_title="recall %", y_title="precision %")
        figures.append(figure(drawn, f"Precision of {name} at an overlap of 0.5, the mean over classes."))
    return "".join(figures)


def _class_row(upright: ClassPrecision, turned: ClassPrecision) -> tuple[str, ...]:
    figures = map(percent, (upright.ap, upright.ap50, turned.ap, turned.ap50))
    return upright.label, str(upright.objects), *figures


def percent(share: float | None) -> str:
    """Return a share, 0..1, as a table says it in percent; nothing for none."""
    return "" if share is None else f"{100 * share:.1f}"
