"""Measuring a model that is trained: after every epoch on the validation images, and at the end on the test images."""

from dataclasses import dataclass
from pathlib import Path

from lstn.contract import Contract
from lstn.data.dataset import Split
from lstn.detection.detecting import DetectionScores
from lstn.evaluation.scores import Scores
from lstn.health.run_health import Epoch
from lstn.images import Pixels
from lstn.nn.checkpoint import CHECKPOINT
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model
from lstn.train.preparing import Prepared
from lstn.train.runs.keeping import load_best, write_metrics
from lstn.warps.warp import Theta


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
    scores: Scores | DetectionScores
    shown: Pixels | None
    warps: tuple[Theta, ...]

    @property
    def classifier(self) -> Classifier:
        """The model of a run that classifies."""
        assert isinstance(self.model, Classifier)
        return self.model


def finish(going: Prepared) -> TrainingResult:
    """Test the best checkpoint, once, on images that chose nothing."""
    at, run, data = going.at, going.run, going.data
    best = run.best
    assert best is not None  # a run has at least one epoch
    checkpoint = load_best(at.folder, run)
    model = checkpoint.model.to(at.device)
    found = going.objective.measure(model, going.images(data.test), going.options.recipe.batch_size, at)
    if at.world.rank == 0:
        last = {"best_epoch": best["epoch"], "test_loss": found.loss, "test_accuracy": found.accuracy}
        write_metrics(at.folder, run.history, **last)
    warps = tuple(theta.numpy() for theta in run.warps)
    return TrainingResult(
        checkpoint=at.folder / CHECKPOINT,
        model=model.cpu(),
        contract=run.contract,
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
