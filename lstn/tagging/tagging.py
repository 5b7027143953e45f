"""One pass over images whose labels are known: what a model that tags answers, tables and a page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lstn.contract import Contract
from lstn.data.splits import Split
from lstn.evaluation.answer import Answers
from lstn.evaluation.asking import asked
from lstn.evaluation.evaluated_file import EvaluatedFile
from lstn.report.table import Table
from lstn.report.web_page import table_section, whole_page
from lstn.report.wording import counted
from lstn.tagging.tag_scores import LabelScore, TaggedImages, TagScores, truth_of


@dataclass(frozen=True, slots=True, eq=False)
class TaggingEvaluation(EvaluatedFile):
    """What a model that tags came to on images of a data set."""

    scores: TagScores


def tag_all(
    answers: Answers, images: Split, contract: Contract, *, batch: int, advance: Callable[[int], None]
) -> list[TaggedImages]:
    """Return the labels of all images and the answers to them, each image decoded once.

    answers: pixels (N, H, W, 3) -> logits (N, C) float32, and theta
    advance: hears the number of images that were finished

    Raises:
        ArtifactError: an answer is not finite.
        DataError: the images don't say what they show.
    """
    return [
        TaggedImages(truth_of(known, len(contract.labels)), logits)
        for known, logits, _ in asked(answers, images, batch=batch, advance=advance)
    ]


def tagging_table(evaluation: TaggingEvaluation) -> Table:
    """Return the figures of all labels together."""
    scores = evaluation.scores
    shown = sum(each.images > 0 for each in scores.labels)
    rows = (
        ("mean average precision", f"{100 * scores.mean_average_precision:.1f} %", counted(shown, "label")),
        ("F1, the mean over labels", f"{100 * scores.macro_f1:.1f} %", counted(shown, "label")),
        ("F1 of all labels together", f"{scores.micro_f1} %", f"{sum(each.images for each in scores.labels)} in all"),
        ("all labels right", f"{100 * scores.exact / scores.images:.1f} %", f"{scores.exact} of {scores.images}"),
    )
    note = (
        f"{counted(scores.images, 'image')}: {evaluation.kind} of {evaluation.data}. Average precision needs no "
        "threshold; F1 is the harmonic mean of precision and recall at the model's thresholds. In brackets: 95 % "
        "interval."
    )
    return Table(f"{evaluation.source}: labels", ("what", "measured", "of"), rows, 1, note)


def label_score_table(scores: TagScores, most: int | None = None) -> Table:
    """Return a row for each label that images have, lowest average precision first; `most` leaves out the rest."""
    shown = [each for each in scores.labels if each.average_precision is not None]
    shown.sort(key=lambda each: each.average_precision or 0.0)
    rows = tuple(_row(each) for each in shown[:most])
    left_out, unseen = len(shown) - len(rows), len(scores.labels) - len(shown)
    notes = [f"{counted(left_out, 'better label', 'are')} left out."] if left_out else []
    notes += [f"No image has {counted(unseen, 'other label')}."] if unseen else []
    columns = ("label", "images", "AP %", "F1 %", "precision %", "recall %", "threshold")
    title = f"The {counted(len(rows), 'worst label')}" if left_out else "Every label, worst first"
    return Table(title, columns, rows, 1, " ".join(notes))


def tagging_report(evaluation: TaggingEvaluation) -> dict[str, Any]:
    """Return all of it for JSON."""
    return {**evaluation.head(), **evaluation.scores.to_dict()}


def tagging_page(evaluation: TaggingEvaluation) -> str:
    """Return all of it as one web page."""
    sections = [table_section(tagging_table(evaluation)), table_section(label_score_table(evaluation.scores))]
    return whole_page(f"Labels by {evaluation.source}", evaluation.where(evaluation.scores.images), sections)


def _row(each: LabelScore) -> tuple[str, ...]:
    shares = (each.average_precision, each.f1, _share(each.right, each.given), _share(each.right, each.images))
    figures = ("" if share is None else f"{100 * share:.1f}" for share in shares)
    return each.label, str(each.images), *figures, f"{each.threshold:.2f}"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
