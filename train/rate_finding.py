"""The learning-rate finder: a short training whose rate rises with every step (Smith 2017, section 3.3)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count

import torch

from lstn.contract import Task
from lstn.errors import TrainingError, UsageError
from lstn.files import scratch_folder
from lstn.nn.sources.own_models import OwnFactory
from lstn.train.batches.loading import ImageBatch, batches
from lstn.train.computing.distributed import ALONE
from lstn.train.computing.workplace import Workplace
from lstn.train.fitting import take_step, together
from lstn.train.freezing import frozen
from lstn.train.preparing import Prepared, prepared
from lstn.train.runs.options import Options

STEPS, LOWEST, HIGHEST = 120, 1e-5, 10.0
"""As many steps, in which the rate rises from the lowest to the highest: 20 for ten times the rate."""

_KEPT = 0.9
"""Share of the mean loss that a step leaves, as in fastai's finder: a batch alone says little."""

_RISEN = 3.0
"""Times the lowest loss, at which no higher rate is tried."""

_LEARNED = 0.1
"""Share of the first loss, below which no higher rate is tried: a set that is learned this soon stops none of them."""

_FALLEN = 0.99
"""Share of the first loss, to which the loss must fall somewhere: else there is nothing to choose by."""


@dataclass(frozen=True, slots=True)
class FoundRate:
    """A learning rate: a tenth of that at which the smoothed loss was lowest.

    lowest: that loss in nats; at: its rate; first: the loss of the first step; until: the highest rate that was tried
    """

    rate: float
    lowest: float
    at: float
    first: float
    until: float


def find_rate(
    options: Options,
    *,
    device: torch.device,
    workers: int,
    own: OwnFactory | None = None,
    step: Callable[[int], None] = lambda taken: None,
) -> FoundRate:
    """Try learning rates on a training that is thrown away, of the same model, images and batches as a run would have.

    step: hears how many steps are taken

    Raises: what `lstn.train.loop.train_to_end` does before its first epoch, and
        TrainingError: the loss falls at none of the rates.
    """
    if options.task is Task.GENERATE:
        raise UsageError(
            "--find-lr: the loss of a generator and its discriminator doesn't say how good they are",
            hint="leave it out",
        )
    unit = replace(options, recipe=replace(options.recipe, lr=1.0))
    with scratch_folder() as folder:
        at = Workplace(folder / "rates", device, workers, ALONE)
        with prepared(unit, at, resume=False, compiled=False, given=None, own=own) as going:
            rates, losses = _tried(going, step)
    return chosen_rate(rates, losses)


def chosen_rate(rates: Sequence[float], losses: Sequence[float]) -> FoundRate:
    """Return the choice among rates, of which each was followed by the loss beside it.

    Raises:
        TrainingError: the loss falls at none of them.
    """
    smooth = smoothed(losses)
    lowest, until = min(smooth, default=0.0), rates[max(0, len(losses) - 1)]
    if not smooth or lowest > _FALLEN * smooth[0]:
        raise TrainingError(
            f"the loss falls at no learning rate from {rates[0]:g} to {until:.2g}",
            hint="look at the images and their labels first: lstn doctor --data folder:PATH",
        )
    best = rates[smooth.index(lowest)]
    return FoundRate(float(f"{best / 10:.1e}"), lowest, best, smooth[0], until)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Return the mean of the losses up to each, where later ones count more; the first steps are not drawn to 0."""
    means, mean = [], 0.0
    for taken, loss in enumerate(losses, 1):
        mean = _KEPT * mean + (1 - _KEPT) * loss
        means.append(mean / (1 - _KEPT**taken))
    return means


def _tried(going: Prepared, step: Callable[[int], None]) -> tuple[list[float], list[float]]:
    """Return rates that rise from step to step, and the loss in nats of each, before its step is taken."""
    options, run = going.options, going.run
    rates = [LOWEST * (HIGHEST / LOWEST) ** (place / (STEPS - 1)) for place in range(STEPS)]
    losses: list[float] = []
    run.model.train()
    with frozen(run.model.backbone) if options.recipe.freeze else nullcontext():
        for rate, of_step in zip(rates, together(_endless(going), options.recipe.accumulate), strict=False):
            for group in run.optimizer.param_groups:
                group["lr"] = rate * group["full_lr"]
            try:
                told, _ = take_step(run, going.objective, going.network, of_step, options, going.at.device, 1)
            except TrainingError:  # the loss is not a number any more: the rates before have said what they can
                break
            losses.append(told / sum(size for size, _ in of_step))
            step(len(losses))
            mean = smoothed(losses)
            if mean[-1] > _RISEN * min(mean) or mean[-1] < _LEARNED * mean[0]:
                break
    return rates, losses


def _endless(going: Prepared) -> Iterator[tuple[int, ImageBatch]]:
    """Yield batches as a run would see them, epoch after epoch, with the number of their images."""
    options, images = going.options, going.training_images()
    for epoch in count(1):
        loader = batches(
            images.at(epoch),
            batch_size=options.recipe.batch_size,
            workers=going.at.workers,
            shuffle_seed=options.seed + epoch,
            device=going.at.device,
            balance=going.labels if options.recipe.balance == "sampling" else None,
        )
        yield from ((len(batch.pixels), batch) for batch in loader)
