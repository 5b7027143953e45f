"""Training of a model that tags: a binary cross-entropy of each label, whatever the others are."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.evaluation.answer import Logits
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model
from lstn.tagging.tag_scores import TaggedImages, score_tags
from lstn.tagging.tags import Tagged, sigmoid
from lstn.tagging.thresholds import fit_thresholds
from lstn.train.batches.loading import NOBODY, ImageBatch, Images, batches
from lstn.train.computing.distributed import ALONE, World
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.classifier_objective import Network, forward, of_theta
from lstn.train.objectives.objective import Measured, StepLoss
from lstn.train.runs.options import Options


class TaggerObjective:
    """The objective of a model that tags. Its network is a classifier's."""

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""
        assert isinstance(model, Classifier)
        return Network(model, options.precision, compiled=compiled)

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step comes to, of which the cross-entropy is told, in nats: the mean over labels."""
        logits, theta, of_moved = network(batch.pixels, batch.moves)
        logits = logits.float()
        wanted = labels_in(batch, logits.shape[1])
        entropy = F.binary_cross_entropy_with_logits(logits, wanted)
        right = ((logits >= 0) == wanted.bool()).double().mean()
        return StepLoss(entropy + of_theta(options.recipe, batch, theta, of_moved), entropy, right)

    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return the cross-entropy, and the mean average precision over labels; F1 is at the model's thresholds."""
        assert isinstance(model, Classifier)
        answered = answers_to(model, images, batch_size, at, at.world)
        for others in at.world.others(answered):
            answered = answered + others
        scores = score_tags(answered, model.contract)
        loss_sum = sum(float(_entropies(*each).sum()) for each in answered)
        return Measured(loss_sum / scores.images, scores.mean_average_precision, None, scores)


def _entropies(truth: Tagged, logits: Logits) -> npt.NDArray[np.float64]:
    """Return the cross-entropy of each image, the mean over its labels, (N,)."""
    signed = np.where(truth, -logits, logits).astype(np.float64)
    return np.asarray(np.logaddexp(0, signed).mean(axis=1))


@torch.no_grad()
def answers_to(
    model: Classifier, images: Images, batch_size: int, at: Workplace, world: World = ALONE
) -> list[TaggedImages]:
    """Return what this process's share of the images is labelled with, and the answers to it in float32."""
    model.eval()
    loader = batches(
        images, batch_size=batch_size, workers=at.workers, shuffle_seed=None, device=at.device, world=world
    )
    answered = []
    for batch in loader:
        logits = forward(model, batch.pixels.to(at.device), "fp32").float().cpu()
        truth = labels_in(batch, logits.shape[1]).bool()
        answered.append(TaggedImages(truth.numpy(), logits.numpy()))
    return answered


def fitted_thresholds(model: Classifier, images: Images, batch_size: int, at: Workplace) -> tuple[float, ...]:
    """Return the thresholds that fit images which the weights weren't fitted to; every process answers all of them."""
    truth, logits = (np.concatenate(each) for each in zip(*answers_to(model, images, batch_size, at), strict=True))
    return fit_thresholds(sigmoid(logits), truth)


def labels_in(batch: ImageBatch, labels: int) -> Tensor:
    """Return which of so many labels each image of a batch has, (N, C) float32, 1 or 0: those of its objects."""
    assert batch.objects is not None
    numbers = batch.objects[0]
    with_nobody = torch.zeros(len(numbers), labels + 1, device=numbers.device)
    return with_nobody.scatter_(1, torch.where(numbers == NOBODY, labels, numbers), 1.0)[:, :labels]
