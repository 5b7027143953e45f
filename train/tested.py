"""Measuring a model that is trained: after every epoch on the validation images, and at the end on the test images."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lstn.contract import Contract, Task
from lstn.data.dataset import Split
from lstn.evaluation.confidence import fit_temperature
from lstn.health.run_health import Epoch
from lstn.images import Pixels
from lstn.nn.checkpoint import CHECKPOINT, write_checkpoint
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model
from lstn.train.batches.loading import batches
from lstn.train.objectives.classifier_objective import forward
from lstn.train.objectives.objective import AnyScores
from lstn.train.objectives.tagger_objective import fitted_thresholds
from lstn.train.preparing import Prepared
from lstn.train.runs.keeping import load_best, write_metrics
from lstn.warps.warp import Theta

_MOST_LOGITS = 20_000_000
"""That a temperature is fitted to, as many as 20,000 images of 1,000 classes have."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a finished run came to: the best epoch's model on the CPU, and how good it is; accuracies 0..1.

    test_is_val: there are no test images, and the validation images that chose the epoch are tested
    shown, warps: a few validation images (n, H, W, 3), and their theta (n, …) after every epoch; None and nothing
                  without a transformer
    """

    checkpoint: Path
    model: Model
    contract: Contract
    val: Split
    history: tuple[Epoch, ...]
    best: Epoch
    test_accuracy: float
    test_images: int
    test_is_val: bool
    scores: AnyScores
    shown: Pixels | None
    warps: tuple[Theta, ...]

    @property
    def classifier(self) -> Classifier:
        """The model of a run that classifies."""
        assert isinstance(self.model, Classifier)
        return self.model


def finish(going: Prepared) -> TrainingResult:
    """Test the best checkpoint, once, on images that chose nothing, and make it as sure as it is right.

    Of a model that tags, thresholds are fitted first.
    """
    at, run, data = going.at, going.run, going.data
    best = run.best
    assert best is not None  # a run has at least one epoch
    checkpoint = load_best(at.folder, run)
    model = checkpoint.model.to(at.device)
    if run.contract.task is Task.TAG:
        model.contract = replace(run.contract, thresholds=_thresholds(going, model))
    found = going.objective.measure(model, going.images(data.test), going.options.recipe.batch_size, at)
    if at.world.rank == 0:
        if run.contract.task is Task.CLASSIFY:
            model.contract = replace(run.contract, temperature=_temperature(going, model))
        if isinstance(model, Classifier):
            write_checkpoint(at.folder / CHECKPOINT, model, model.contract, checkpoint.training)
        last = {"best_epoch": best["epoch"], "test_loss": found.loss, "test_accuracy": found.accuracy}
        write_metrics(at.folder, run.history, run.contract.task, **last, temperature=model.contract.temperature)
    warps = tuple(theta.numpy() for theta in run.warps)
    return TrainingResult(
        checkpoint=at.folder / CHECKPOINT,
        model=model.cpu(),
        contract=model.contract,
        val=data.val,
        history=tuple(run.history),
        best=best,
        test_accuracy=found.accuracy,
        test_images=len(data.test),
        test_is_val=data.test_is_val,
        scores=found.scores,
        shown=going.probe.shown() if going.probe else None,
        warps=warps,
    )


def _thresholds(going: Prepared, model: Model) -> tuple[float, ...]:
    """Return the thresholds that fit the validation images, which the weights weren't fitted to."""
    assert isinstance(model, Classifier)  # no other model tags
    return fitted_thresholds(model, going.images(going.data.val), going.options.recipe.batch_size, going.at)


@torch.no_grad()
def _temperature(going: Prepared, model: Model) -> float:
    """Return the temperature that fits the validation images, which the weights weren't fitted to."""
    assert isinstance(model, Classifier)  # no other model classifies
    at, split = going.at, going.data.val
    every = -(-len(split) * len(model.contract.labels) // _MOST_LOGITS)
    size = going.options.recipe.batch_size
    loader = batches(going.images(split), batch_size=size, workers=at.workers, shuffle_seed=None, device=at.device)
    logits, labels = [], []
    for pixels, truth, *_ in loader:
        logits.append(forward(model, pixels.to(at.device), "fp32")[::every].cpu().numpy())
        labels.append(truth[::every].numpy())
    return fit_temperature(np.concatenate(logits), np.concatenate(labels))
