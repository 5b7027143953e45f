"""Drift and other costs of lower precision on real images: how good the model is, and how far its warps move."""

from collections.abc import Callable
from pathlib import Path

from lstn.calibration.cost.classifier_cost import classifier_cost
from lstn.calibration.cost.compared_models import IMAGES, ComparedModels
from lstn.calibration.cost.detector_cost import detector_cost
from lstn.calibration.cost.lowering_cost import LoweringCost
from lstn.calibration.cost.tagger_cost import tagger_cost
from lstn.contract import Task
from lstn.data.dataset import Split

_COSTS: dict[Task, Callable[[ComparedModels], LoweringCost]] = {Task.DETECT: detector_cost, Task.TAG: tagger_cost}


def measure_drift(reference: Path, lowered: Path, split: Split, *, count: int = IMAGES) -> LoweringCost:
    """Compare two ONNX files of one contract, float32 and lowered, on `count` images spread over `split`.

    Both run in ONNX Runtime on the CPU, and so must be able to. Images are decoded a batch at a time, and no logits are
    kept.

    Raises:
        UsageError: the files are of different contracts.
        DataError: the split is empty, of other classes, or doesn't say where its objects are.
        ArtifactError: not a file of lstn, or ONNX Runtime can't run it.
        VerificationError: a model answers with what is not finite.
        MissingExtra: what measures detectors is not installed.
    """
    models = ComparedModels.on(reference, lowered, split, count)
    return _COSTS.get(models.contract.task, classifier_cost)(models)
