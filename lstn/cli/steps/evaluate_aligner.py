"""`lstn evaluate` of a model that aligns: what images, sentences and words find."""

from typing import TYPE_CHECKING

from lstn.cli.display.screen import results
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.alignment.aligning import AlignmentEvaluation
    from lstn.cli.steps.evaluated_model import EvaluatedModel
    from lstn.data.splits import AnySplit


def evaluate_aligner(
    model: "EvaluatedModel", source: str, chosen: "AnySplit", tested: "AnySplit"
) -> "AlignmentEvaluation":
    """Measure a model that aligns on one split of its data set, and print the table; as for `evaluate_reader`."""
    from lstn.alignment.aligning import AlignmentEvaluation, align_all, alignment_table
    from lstn.report.table import print_table

    assert model.encode is not None  # of a model that aligns
    images, contract = model.data.split(chosen), model.contract
    with working(f"aligning {counted(len(images), 'image')} of {model.named}", len(images)) as advance:
        batch = batch_of(contract.image_hw, model.most)
        found = align_all(model.answering.both, model.encode, images, batch=batch, advance=advance)
    evaluation = AlignmentEvaluation(source, model.named, tested, contract, tuple(found))
    print_table(results(), alignment_table(evaluation))
    return evaluation
