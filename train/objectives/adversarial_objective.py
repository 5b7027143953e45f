"""Training of a generator: it and its discriminator learn in the same step, each down its own gradient."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstn.data.splits import spaced
from lstn.images import Pixels
from lstn.nn.generation.adversarial_network import AdversarialNetwork, JudgedStep
from lstn.nn.generation.generator import Generator
from lstn.nn.models import Model
from lstn.synthesis.generation_scores import score_pictures
from lstn.synthesis.two_samples import Labels
from lstn.train.batches.loading import ImageBatch, Images, batches
from lstn.train.computing.distributed import World
from lstn.train.computing.workplace import Workplace
from lstn.train.objectives.objective import Measured, StepLoss
from lstn.train.runs.options import Options
from lstn.warps.warp import Theta

R1 = 0.2
"""Weight of the penalty on the discriminator's slope at real images."""

MASK = 0.1
"""Weight of the mean of an object's mask: what of the background may show, does, so boxes lie close around objects."""

MOST_MEASURED = 2000
"""Real pictures that a generator is compared with after an epoch."""

_MEASURED_SEED = 1


class AdversarialObjective:
    """The objective of a generator: its pictures are to be taken for real, and the discriminator is to tell them apart.

    The loss of each is logistic, the generator's the one that does not saturate (Goodfellow et al. 2014). Both take
    their step at once, at the weights that they have, so one optimizer and one backward pass do (Shen et al. 2021,
    Training GANs in One Stage). R1, the squared slope of the discriminator at real images, is what lets that end
    instead of going round in circles (Mescheder et al. 2018, which proves it of simultaneous steps). Spectral
    normalisation would bound the slope everywhere and slow a small discriminator down; and its weights would be no
    start for a classifier.
    """

    def network(self, model: Model, options: Options, *, compiled: bool) -> nn.Module:
        """Return the model as it trains."""
        assert isinstance(model, Generator)
        return AdversarialNetwork(model)

    def loss(self, network: nn.Module, batch: ImageBatch, options: Options, size: int, world: World) -> StepLoss:
        """Return what a step comes to, of which the discriminator's loss without its penalty is told, in nats."""
        found: JudgedStep = network(batch.pixels, batch.labels)
        told = discrimination(found.real, found.fake)
        loss = told + R1 / 2 * found.slope + F.softplus(-found.fooled).mean() + MASK * found.mask
        return StepLoss(loss, told, right_answers(found.real, found.fake).double())

    @torch.no_grad()
    def measure(self, model: Model, images: Images, batch_size: int, at: Workplace) -> Measured:
        """Return the discriminator's loss, and how many pictures pass for real ones of the split, evenly spaced in it.

        Every process measures all of it. The noise is the same each time.
        """
        assert isinstance(model, Generator)
        model.eval()
        chosen = set(spaced(len(images), MOST_MEASURED))
        noise = torch.Generator().manual_seed(_MEASURED_SEED)
        loss_sum, start = 0.0, 0
        kept: list[_Pictures] = []
        for batch in batches(images, batch_size=batch_size, workers=at.workers, shuffle_seed=None, device=at.device):
            rows = [row for row in range(len(batch.labels)) if start + row in chosen]
            start += len(batch.labels)
            if rows:
                drawn = torch.randn(len(rows), model.contract.noise, generator=noise)
                loss, found = _painted_like(model, batch.pixels[rows], batch.labels[rows], drawn)
                loss_sum += loss * len(rows)
                kept.append(found)
        real, made, labels = (np.concatenate([getattr(each, name) for each in kept]) for name in _Pictures._fields[:3])
        thetas = [each.theta for each in kept if each.theta is not None]
        scores = score_pictures(real, made, labels, model.contract.labels, np.concatenate(thetas) if thetas else None)
        return Measured(loss_sum / len(labels), scores.taken_for_real, None, scores)


class _Pictures(NamedTuple):
    """Real pictures and painted ones (n, H, W, 3), their classes (n,), and where the objects of the latter are."""

    real: Pixels
    made: Pixels
    labels: Labels
    theta: Theta | None


def _painted_like(model: Generator, real: Tensor, labels: Tensor, noise: Tensor) -> tuple[float, _Pictures]:
    """Paint as many pictures as there are real ones, of the same classes; and return the discriminator's loss, too."""
    device = model.scale.device
    classes, drawn = labels.to(device), noise.to(device)
    images = model.standardise(model.paint(drawn, classes).pictures)
    loss = discrimination(model.judge(model.normalise(real.to(device)), classes), model.judge(images, classes))
    answer = model(drawn, classes)
    made, theta = answer if isinstance(answer, tuple) else (answer, None)
    placed = None if theta is None else np.asarray(theta.cpu().numpy())
    return float(loss), _Pictures(real.numpy(), made.cpu().numpy(), labels.numpy(), placed)


def discrimination(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss, a scalar in nats: the cross-entropy of real and painted, summed."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def right_answers(real: Tensor, fake: Tensor) -> Tensor:
    """Return the share of images that are told rightly, of both kinds, a scalar. Undecided is half right."""
    return ((real.sign() + 1) / 2).mean() / 2 + ((1 - fake.sign()) / 2).mean() / 2
