"""One pass over images whose text is known: what a reader reads, its errors, tables and a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lstn.contract import Contract
from lstn.data.splits import Split
from lstn.errors import ArtifactError
from lstn.evaluation.answer import Answers
from lstn.evaluation.asking import asked
from lstn.evaluation.evaluated_file import EvaluatedFile
from lstn.report.table import Table
from lstn.report.web_page import table_section, whole_page
from lstn.report.wording import counted
from lstn.transcription.reading_scores import ReadingScores, ReadText, score_text, score_texts


@dataclass(frozen=True)
class ReadingEvaluation(EvaluatedFile):
    """What a reader came to on images of a data set.

    found: what it read in each
    """

    found: tuple[ReadText, ...]

    @cached_property
    def scores(self) -> ReadingScores:
        """How well it reads them."""
        return score_texts(self.found)


def read_all(
    answers: Answers,
    images: Split,
    contract: Contract,
    *,
    batch: int,
    advance: Callable[[int], None],
    chosen: Sequence[int] | None = None,
) -> list[ReadText]:
    """Return what was read in each image, beside its text, each image decoded once.

    answers: pixels (N, H, W, 3) -> logits (N, T, A + 1) and theta (N, T, 2, 3) or None, both float32
    contract: of what answers
    advance: hears the number of images that were finished
    chosen:  which images; None: all

    Raises:
        ArtifactError: an answer is not finite, or not of these shapes.
        DataError: the images don't say what their text is.
    """
    found: list[ReadText] = []
    for truths, logits, theta in asked(answers, images, batch=batch, advance=advance, chosen=chosen):
        columns = len(contract.labels) + 1
        if logits.ndim != 3 or logits.shape[2] != columns:
            raise ArtifactError(
                f"the model answers logits {logits.shape}; expected (N, T, {columns})",
                hint="name a model that was trained to read",
            )
        thetas = [None] * len(logits) if theta is None else list(theta)
        both = zip(truths, logits, thetas, strict=True)
        found += [score_text(truth, answer, places, contract) for truth, answer, places in both]
    return found


def text_error_table(evaluation: ReadingEvaluation) -> Table:
    """Return how many texts and symbols are read wrongly, and how well crops fit."""
    scores = evaluation.scores
    rows = [
        ("texts with an error", f"{scores.text_error} %", f"{scores.images - scores.right} of {scores.images}"),
        ("wrong symbols", f"{scores.symbol_error} %", f"{scores.edits} of {scores.symbols}"),
    ]
    if scores.overlap is not None:
        rows.append(("overlap of crops and boxes", f"{100 * scores.overlap:.1f} %", f"{scores.boxes} boxes"))
    note = (
        f"{counted(scores.images, 'text')} in {evaluation.kind} of {evaluation.data}; 95 % intervals. Wrong "
        "symbols: those to insert, to leave out or to replace. Overlap: the mean intersection over union."
    )
    return Table(f"{evaluation.source}: reading", ("what", "measured", "of"), tuple(rows), 1, note)


def misread_table(evaluation: ReadingEvaluation, most: int | None = None) -> Table:
    """Return the texts that were read wrongly, those of which the model was most sure first; `most` leaves out the
    rest."""
    wrong = [(number, each) for number, each in enumerate(evaluation.found) if each.edits]
    wrong.sort(key=lambda pair: -pair[1].best.probability)
    rows = tuple(
        (str(number), each.truth, each.best.text, f"{100 * each.best.probability:.1f}") for number, each in wrong[:most]
    )
    left_out = len(wrong) - len(rows)
    note = f"{counted(left_out, 'other', 'are')} left out." if left_out else ""
    return Table("Texts with an error, the surest first", ("image", "text", "read", "sure %"), rows, 1, note)


def reading_report(evaluation: ReadingEvaluation) -> dict[str, Any]:
    """Return all of it for JSON."""
    texts = [
        {"text": each.truth, "read": each.best.text, "probability": each.best.probability} for each in evaluation.found
    ]
    return {
        **evaluation.head(),
        **evaluation.scores.to_dict(),
        "texts": texts,
    }


def reading_page(evaluation: ReadingEvaluation) -> str:
    """Return all of it as one web page."""
    sections = [table_section(text_error_table(evaluation))]
    if (misread := misread_table(evaluation)).rows:
        sections.append(table_section(misread))
    return whole_page(f"Reading by {evaluation.source}", evaluation.where(evaluation.scores.images), sections)
