"""One pass over images whose sentence is known: what a model that aligns makes of both, tables and a page."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lstn.alignment.alignment_scores import AlignedPair, AlignmentScores, score_alignment
from lstn.alignment.sentence_encoder import EncodeWords
from lstn.data.splits import Split
from lstn.evaluation.answer import Answers
from lstn.evaluation.asking import asked
from lstn.evaluation.evaluated_file import EvaluatedFile
from lstn.report.table import Table
from lstn.report.web_page import table_section, whole_page
from lstn.report.wording import counted


@dataclass(frozen=True)
class AlignmentEvaluation(EvaluatedFile):
    """What a model that aligns came to on images of a data set."""

    found: tuple[AlignedPair, ...]

    @cached_property
    def scores(self) -> AlignmentScores:
        """How well it aligns them."""
        return score_alignment(self.found)


def align_all(
    answers: Answers, encode: EncodeWords, images: Split, *, batch: int, advance: Callable[[int], None]
) -> list[AlignedPair]:
    """Return what a model makes of each image and of its sentence.

    answers: pixels (N, H, W, 3) -> vectors of regions (N, K, SPACE) and theta (N, K, 2, 3), both float32
    advance: hears the number of images that were finished

    Raises:
        ArtifactError: an answer is not finite.
        DataError: the images don't say what their sentence is.
    """
    pairs: list[AlignedPair] = []
    for truths, regions, theta in asked(answers, images, batch=batch, advance=advance):
        assert theta is not None  # such a contract has a localizer
        each = zip(regions, theta, truths, strict=True)
        pairs += [AlignedPair(vectors, places, encode(truth.labels), truth) for vectors, places, truth in each]
    return pairs


def alignment_table(evaluation: AlignmentEvaluation) -> Table:
    """Return how often images and sentences find each other, and how well words find their places."""
    scores = evaluation.scores
    rows = [
        ("sentence of an image found", f"{scores.sentence_recall} %", f"among {scores.among}"),
        ("image of a sentence found", f"{scores.image_recall} %", f"among {scores.among}"),
    ]
    if scores.overlap is not None and scores.shuffled is not None:
        rows += [
            ("overlap of words and objects", f"{100 * scores.overlap:.1f} %", counted(scores.words, "word")),
            ("the same, of another sentence", f"{100 * scores.shuffled:.1f} %", "a control"),
        ]
    note = (
        f"{counted(scores.images, 'image')} in {evaluation.kind} of {evaluation.data}; 95 % intervals. Found: "
        "the best of them is right (recall at 1). Overlap: the mean intersection over union of a word's region and of "
        "the object that it is about."
    )
    return Table(f"{evaluation.source}: words and regions", ("what", "measured", "of"), tuple(rows), 1, note)


def alignment_report(evaluation: AlignmentEvaluation) -> dict[str, Any]:
    """Return all of it for JSON."""
    return {**evaluation.head(), **evaluation.scores.to_dict()}


def alignment_page(evaluation: AlignmentEvaluation) -> str:
    """Return all of it as one web page."""
    return whole_page(
        f"Words and regions by {evaluation.source}",
        evaluation.where(evaluation.scores.images),
        [table_section(alignment_table(evaluation))],
    )
