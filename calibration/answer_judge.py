"""Judges of what a model answers to images whose truth is known, by its task."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.contract import LOGITS, THETA, Contract, Task
from lstn.data.objects import objects_of
from lstn.data.splits import Split
from lstn.detection.detecting import score_detections
from lstn.detection.region_order import nearest_regions
from lstn.detection.suppression import LEAST_SCORE, detections
from lstn.evaluation.answer import Logits
from lstn.tagging.tag_scores import average_precisions, mean_of_known, truth_of
from lstn.tagging.tags import sigmoid

Answered: TypeAlias = Mapping[str, npt.NDArray[np.float32]]
"""Outputs of a model for N images, by name."""


class LabelJudge:
    """Top-1 accuracy. labels: (N,), one for each image"""

    outputs = (LOGITS,)

    def __init__(self, labels: Sequence[int]) -> None:
        self._labels = np.array(labels)

    def score(self, answers: Answered) -> float:
        """Return how good the answers to all images are, 0..1."""
        return float((answers[LOGITS].argmax(axis=1) == self._labels).mean())

    def logits_like(self, answers: Answered, reference: Answered) -> Logits:
        """Return the logits, each in the place of the reference's that stands for the same."""
        return answers[LOGITS]


class ObjectJudge:
    """Average precision, of turned boxes if a model's boxes may be turned.

    numbers: of the images in the split
    """

    outputs = (LOGITS, THETA)

    def __init__(self, contract: Contract, split: Split, numbers: Sequence[int]) -> None:
        self._contract = contract
        self._truths = [objects_of(split, number) for number in numbers]

    def score(self, answers: Answered) -> float:
        """Return how good the answers to all images are, 0..1."""
        labels = self._contract.labels
        regions = zip(answers[LOGITS], answers[THETA], strict=True)
        found = [detections(*each, labels, least=LEAST_SCORE) for each in regions]
        scores = score_detections(list(zip(self._truths, found, strict=True)), labels, self._contract.image_hw)
        return scores.of(self._contract.theta).ap or 0.0

    def logits_like(self, answers: Answered, reference: Answered) -> Logits:
        """Return the logits, each in the place of the reference's that stands for the same."""
        order = nearest_regions(answers[THETA], of=reference[THETA])
        return np.take_along_axis(answers[LOGITS], order[:, :, None], axis=1)


class TagJudge:
    """Mean average precision over labels.

    numbers: of the images in the split
    """

    outputs = (LOGITS,)

    def __init__(self, contract: Contract, split: Split, numbers: Sequence[int]) -> None:
        self._truth = truth_of([objects_of(split, number) for number in numbers], len(contract.labels))

    def score(self, answers: Answered) -> float:
        """Return how good the answers to all images are, 0..1."""
        return mean_of_known(average_precisions(sigmoid(answers[LOGITS]), self._truth))

    def logits_like(self, answers: Answered, reference: Answered) -> Logits:
        """Return the logits, each in the place of the reference's that stands for the same."""
        return answers[LOGITS]


AnswerJudge: TypeAlias = LabelJudge | TagJudge | ObjectJudge
"""What a task makes of a model's answers; `outputs` are those that it looks at."""


def judge_of(contract: Contract, split: Split, numbers: Sequence[int], labels: Sequence[int]) -> AnswerJudge:
    """Return the judge of a model's answers to these images of a split, which have these labels.

    Raises:
        DataError: a detector's images don't say where their objects are.
    """
    if contract.task is Task.TAG:
        return TagJudge(contract, split, numbers)
    return ObjectJudge(contract, split, numbers) if contract.task is Task.DETECT else LabelJudge(labels)
