"""`lstn evaluate` of a model that tags: average precision and F1 of labels instead of accuracy."""

from typing import TYPE_CHECKING

from lstn.cli.display.screen import results
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.cli.steps.evaluated_model import EvaluatedModel
    from lstn.data.splits import AnySplit
    from lstn.tagging.tagging import TaggingEvaluation

_MOST_LABELS = 50


def evaluate_tagger(
    model: "EvaluatedModel", source: str, chosen: "AnySplit", tested: "AnySplit"
) -> "TaggingEvaluation":
    """Measure a model that tags on one split of its data set.

    source: the model's file, as tables name it
    """
    from lstn.tagging.tag_scores import score_tags
    from lstn.tagging.tagging import TaggingEvaluation, tag_all

    images, contract = model.data.split(chosen), model.contract
    with working(f"tagging {counted(len(images), 'image')} of {model.named}", len(images)) as advance:
        batch = batch_of(contract.image_hw, model.most)
        found = tag_all(model.answering.both, images, contract, batch=batch, advance=advance)
    return TaggingEvaluation(source, model.named, tested, contract, score_tags(found, contract))


def show_tagging(evaluation: "TaggingEvaluation") -> None:
    """Print the tables."""
    from lstn.report.table import print_table
    from lstn.tagging.tagging import label_score_table, tagging_table

    console = results()
    print_table(console, tagging_table(evaluation))
    print_table(console, label_score_table(evaluation.scores, _MOST_LABELS))
