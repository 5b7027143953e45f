"""`lstn evaluate` and `lstn compare` of a classifier: accuracy, confidence, follow, and what else is asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.waiting import working
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.cli.steps.evaluated_model import EvaluatedModel
    from lstn.data.splits import AnySplit, Split
    from lstn.evaluation.disturb import Disturbance
    from lstn.evaluation.measuring import Answering, Evaluation
    from lstn.evaluation.move_bounds import MoveBounds
    from lstn.evaluation.top_losses import LossRanking
    from lstn.evaluation.worst_case import WorstCase


@dataclass(frozen=True, slots=True)
class ClassifierQuestions:
    """What of a classifier is measured next to its accuracy. names: the options that asked for it"""

    disturbances: tuple["Disturbance", ...]
    bounds: "MoveBounds | None"
    ranking: "LossRanking"
    reject_below: float | None
    seed: int
    names: tuple[str, ...]


def measure_classifier(
    file: Path, model: "EvaluatedModel", chosen: "AnySplit", asked: ClassifierQuestions, tested: "AnySplit"
) -> "Evaluation":
    """Measure a classifier on one split of its data set.

    tested: what that split is called, where the validation images are tested
    """
    from lstn.cli.steps.explain_losses import explained_mistakes
    from lstn.evaluation.confidence import ConfidenceTally
    from lstn.evaluation.measured_follow import measure_follow
    from lstn.evaluation.measured_pose import measure_pose
    from lstn.evaluation.measuring import Evaluation, score

    contract, answering, named = model.contract, model.answering, model.named
    batch, images, sure = batch_of(contract.image_hw, model.most), model.data.split(chosen), ConfidenceTally()
    with working(f"classifying {counted(len(images), 'image')} of {named}", len(images)) as advance:
        plain, *others = score(
            answering.classify,
            images,
            contract.labels,
            asked.disturbances,
            batch=batch,
            advance=advance,
            ranking=asked.ranking,
            confidence=sure,
        )
    worst = None if asked.bounds is None else _worst(answering, images, asked.bounds, batch, asked.seed)
    follow = None if answering.locate is None else measure_follow(answering.locate, images, contract, batch=batch)
    pose = None if answering.locate is None else measure_pose(answering.locate, images, batch=batch)
    mistakes = explained_mistakes(asked.ranking.mistakes, answering.both, contract, images, batch=batch)
    sweeps = tuple(zip(asked.disturbances, others, strict=True))
    return Evaluation(
        shown_path(file),
        named,
        tested,
        contract,
        plain,
        sweeps,
        sure.confidence(),
        follow,
        pose,
        worst,
        mistakes,
        asked.reject_below,
    )


def _worst(model: "Answering", images: "Split", bounds: "MoveBounds", batch: int, seed: int) -> "WorstCase":
    from lstn.evaluation.worst_case import measure_worst

    what = f"moving {counted(len(images), 'image')}, {counted(bounds.count, 'move')} each"
    with working(what, len(images)) as advance:
        return measure_worst(model.classify, images, bounds, batch=batch, seed=seed, advance=advance)
