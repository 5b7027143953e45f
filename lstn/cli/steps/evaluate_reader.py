"""`lstn evaluate` of a reader: errors of texts and symbols instead of accuracy."""

from typing import TYPE_CHECKING

from lstn.cli.display.screen import results
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.cli.steps.evaluated_model import EvaluatedModel
    from lstn.data.splits import AnySplit
    from lstn.transcription.reading import ReadingEvaluation

_MOST_MISREAD = 10


def evaluate_reader(
    model: "EvaluatedModel", source: str, chosen: "AnySplit", tested: "AnySplit"
) -> "ReadingEvaluation":
    """Measure a reader on one split of its data set.

    source: the model's file, as tables name it

    Raises:
        DataError: a text is longer than the model reads.
    """
    from lstn.data.texts.text_sets import check_lengths
    from lstn.transcription.reading import ReadingEvaluation, read_all

    images, contract = model.data.split(chosen), model.contract
    check_lengths(images, contract.warps, model.named)
    with working(f"reading {counted(len(images), 'image')} of {model.named}", len(images)) as advance:
        batch = batch_of(contract.image_hw, model.most)
        found = read_all(model.answering.both, images, contract, batch=batch, advance=advance)
    return ReadingEvaluation(source, model.named, tested, contract, tuple(found))


def show_reading(evaluation: "ReadingEvaluation") -> None:
    """Print the tables."""
    from lstn.report.table import print_table
    from lstn.transcription.reading import misread_table, text_error_table

    console = results()
    print_table(console, text_error_table(evaluation))
    if (misread := misread_table(evaluation, _MOST_MISREAD)).rows:
        print_table(console, misread)
