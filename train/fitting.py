"""One epoch of fitting: batches -> steps of the optimizer."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from itertools import islice
from typing import TypeVar

import torch
from torch import nn

from lstn.contract import UNBOUNDED, Contract, Task, ThetaForm
from lstn.errors import TrainingError, UsageError
from lstn.nn.models import Model, build_model, example_of
from lstn.recipe import RECIPES
from lstn.train.batches.loading import ImageBatch
from lstn.train.computing.distributed import ALONE, Shares, World
from lstn.train.computing.threads import Threads
from lstn.train.freezing import frozen
from lstn.train.objectives.objective import TrainingObjective
from lstn.train.optimizer import set_rate
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import Run
from lstn.train.schedule import EpochPlan
from lstn.train.watch.watcher import OnStep

T = TypeVar("T")


def check_step(contract: Contract, images: int, given: Model | None = None) -> None:
    """Check that a step of `images` images can be taken.

    given: the model that the contract describes, if it is there already

    Raises:
        UsageError: it is one image, and BatchNorm somewhere sees it as a single value, of which there is no variance.
    """
    if images > 1:
        return
    with torch.device("meta"):  # all shapes, and no arithmetic
        model = build_model(contract) if given is None else deepcopy(given).to("meta")
        try:
            model.train()(*example_of(contract, 1))
        except ValueError as error:
            height, width = contract.image_hw
            raise UsageError(
                f"{contract.loc.value} + {contract.backbone} can't train on one image of {height} x {width} pixels: "
                "BatchNorm would see a single value",
                hint="use 2 images per step or more, or a larger image size",
            ) from error


def train_epoch(
    run: Run,
    objective: TrainingObjective,
    network: nn.Module,
    loader: torch.utils.data.DataLoader[ImageBatch],
    options: Options,
    device: torch.device,
    plan: EpochPlan,
    step: OnStep,
    threads: Threads,
    world: World = ALONE,
) -> tuple[float, float]:
    """Fit the weights to every batch once; return the mean loss (nats) and the accuracy (0..1) on the way.

    network: `run.model` as it trains, perhaps wrapped
    """
    assert isinstance(loader.batch_sampler, Shares)
    sizes = loader.batch_sampler.sizes()
    steps = -(-len(sizes) // options.recipe.accumulate)
    run.model.train()
    seen, loss_sum, right = 0, 0.0, 0.0
    of_steps = together(zip(sizes, loader, strict=True), options.recipe.accumulate)
    with frozen(run.model.backbone) if plan.number <= options.recipe.freeze else nullcontext():
        for index, batches in enumerate(threads.over(of_steps)):
            done = (index + 0.5) / steps
            set_rate(run.optimizer, options.recipe, plan.number - 1 + done, plan.share(done))
            told, hits = take_step(run, objective, network, batches, options, device, plan.number, world)
            seen, loss_sum, right = seen + sum(size for size, _ in batches), loss_sum + told, right + hits
            step(plan.number, seen, loss_sum / seen, right / seen)
    return loss_sum / seen, right / seen


def take_step(
    run: Run,
    objective: TrainingObjective,
    network: nn.Module,
    batches: Sequence[tuple[int, ImageBatch]],
    options: Options,
    device: torch.device,
    number: int,
    world: World = ALONE,
) -> tuple[float, float]:
    """Take one step down the gradient of batches; return the sums over their images of the loss told, and of the hits.

    batches: how many images each has over all processes, and this process's share of it
    number:  of the epoch

    Raises:
        TrainingError: the loss is not a number any more.
    """
    run.optimizer.zero_grad(set_to_none=True)  # not after the step: somebody may look at the gradient
    images, loss_sum, right = sum(size for size, _ in batches), 0.0, 0.0
    for place, (size, batch) in enumerate(batches, 1):
        there = batch.to(device)
        # Shares may differ by an image: each counts by what it holds, so that the mean over processes is the batch's.
        counts = len(there.pixels) / (1 if world.shared(size) else world.size)
        with world.gradients(network, complete=place == len(batches)):
            found = objective.loss(network, there, options, size, world)
            value, told, hits = world.sum(torch.stack([each.double() * counts for each in found]))
            if not math.isfinite(value):
                raise world.told(diverged(run, value / size, number, options))
            loss = run.scaler.scale(found.loss * (counts * world.size / images))
            loss.backward()  # type: ignore[no-untyped-call]
        loss_sum, right = loss_sum + told, right + hits
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return loss_sum, right


def together(batches: Iterable[T], count: int) -> Iterator[list[T]]:
    """Yield lists of `count` batches, of which the last may be shorter."""
    each = iter(batches)
    while group := list(islice(each, count)):
        yield group


def diverged(run: Run, loss: float, number: int, options: Options) -> TrainingError:
    """Return what to say of a loss that is no number: what is kept, and what to change."""
    best, recipe = run.best, options.recipe
    kept = f"the checkpoint of epoch {best['epoch']} is kept" if best else "no epoch was finished before"
    weights = {"equivariance": recipe.equivariance, "supervise": options.supervise}
    cures = [f"--lr {min(recipe.lr / 10, RECIPES['robust'].lr):g}"]  # a tenth of 1e30 is as wrong
    cures += [f"a smaller --{name}" for name, weight in weights.items() if weight > 1]
    if recipe.loc_lr_scale > 0.1 and run.model.transformer is not None:
        cures.append("--loc-lr-scale 0.1")
    if recipe.theta in UNBOUNDED and run.model.transformer is not None and options.task is Task.CLASSIFY:
        cures.append(f"--theta {ThetaForm.SIMILARITY.value}, which can't run away")
    if options.precision != "fp32":
        cures.append("--precision fp32")
    return TrainingError(
        f"the loss became {loss} in epoch {number}; {kept}", hint=f"start a new run with {', or '.join(cures)}"
    )
