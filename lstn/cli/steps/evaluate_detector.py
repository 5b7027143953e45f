"""`lstn evaluate` of a detector: average precision instead of accuracy."""

from typing import TYPE_CHECKING

from lstn.cli.display.screen import results
from lstn.imports import require
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working

if TYPE_CHECKING:
    from lstn.cli.steps.evaluated_model import EvaluatedModel
    from lstn.data.splits import AnySplit
    from lstn.detection.detecting import DetectionEvaluation

_MOST_CLASSES = 50


def evaluate_detector(
    model: "EvaluatedModel", source: str, chosen: "AnySplit", tested: "AnySplit"
) -> "DetectionEvaluation":
    """Measure a detector on one split of its data set.

    source: the model's file, as tables name it

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    from lstn.detection.detecting import DetectionEvaluation, detect_all, score_detections

    require("pycocotools.coco", extra="detect")  # before the work, which is in vain without it
    images, contract = model.data.split(chosen), model.contract
    with working(f"looking for objects in {counted(len(images), 'image')} of {model.named}", len(images)) as advance:
        batch = batch_of(contract.image_hw, model.most)
        found = detect_all(model.answering.both, images, contract.labels, batch=batch, advance=advance)
    scores = score_detections(found, contract.labels, contract.image_hw)
    return DetectionEvaluation(source, model.named, tested, contract, scores)


def show_detection(evaluation: "DetectionEvaluation") -> None:
    """Print the tables."""
    from lstn.detection.detecting import class_precision_table, precision_table
    from lstn.report.table import print_table

    console = results()
    print_table(console, precision_table(evaluation))
    print_table(console, class_precision_table(evaluation.scores, _MOST_CLASSES))
