"""The training loop: images -> a run's folder with the best checkpoint, and a state to resume from."""

import math
import time
from pathlib import Path

import torch

from lstn.health.liveness import judged
from lstn.health.run_health import Epoch
from lstn.nn.classifier import Classifier
from lstn.nn.models import Model
from lstn.nn.sources.own_models import OwnFactory
from lstn.report.wording import counted
from lstn.terminal import note
from lstn.train.batches.augment import Augmentation
from lstn.train.batches.equivariance import Moves
from lstn.train.batches.loading import Images, batches, loaders_watched
from lstn.train.computing.distributed import ALONE, World
from lstn.train.computing.threads import Threads, threads_here
from lstn.train.computing.workplace import Workplace
from lstn.train.fitting import diverged, train_epoch
from lstn.train.objectives.objective import Measured
from lstn.train.preparing import Prepared, prepared
from lstn.train.runs.keeping import keep
from lstn.train.runs.options import Options
from lstn.train.tested import TrainingResult, finish
from lstn.train.watch.watcher import SILENT, OnStep, Outlook, Watcher
from lstn.warps.warp import sampling_of


def fit(
    options: Options,
    folder: Path,
    *,
    device: torch.device,
    workers: int,
    watcher: Watcher,
    resume: bool,
    world: World = ALONE,
    compiled: bool = False,
    given: Model | None = None,
    own: OwnFactory | None = None,
) -> TrainingResult:
    """Train until `options.epochs`, or until validation accuracy stays flat for the recipe's `patience` epochs.

    After every epoch `folder` holds the best checkpoint, the state to resume from, and metrics.jsonl, each written
    whole. An epoch depends on the options and its own number alone, so on a CPU a run that was killed and resumed
    ends with the same weights as one that wasn't. Each process of `world` calls this, and `folder` is one that all of
    them see.

    given: the model to train, in place; by default one is made of the options
    own:   makes the backbone, where that is the user's own

    Raises:
        UsageError, DataError: options that name nothing, a data set that can't be used, or another process
            trains there.
        DeviceError: it is to be compiled, and there is no C++ compiler.
        TrainingError: the loss is no number any more, or a process that loads images ended.
    """
    at = Workplace(folder, device, workers, world)
    with prepared(options, at, resume=resume, compiled=compiled, given=given, own=own) as going, loaders_watched(world):
        train_epochs(going, watcher if world.rank == 0 else SILENT)
        return finish(going)


def train_epochs(going: Prepared, watcher: Watcher) -> None:
    """Train epoch after epoch, and keep each, until the last one or until patience runs out."""
    options, run, data, at = going.options, going.run, going.data, going.at
    watcher.started(_outlook(going))
    threads = threads_here(at.device, run.threads)
    augment = Augmentation(options.augment, image_hw=run.contract.image_hw, mirrors=data.mirrors, seed=options.seed)
    moves = Moves(run.contract.image_hw, options.seed) if options.recipe.equivariance and going.probe else None
    train, val = going.images(data.train, augment, moves), going.images(data.val)
    while len(run.history) < options.epochs and run.flat_epochs < options.recipe.patience:
        row = _epoch(going, train, val, threads, watcher.step)
        run.history.append(row)
        _examine(going, row, watcher)
        with at.world.together():
            if at.world.rank == 0:
                keep(run, at.folder, options, data)
        assert run.best is not None  # there is a latest epoch
        watcher.epoch(row, run.best)
    if len(run.history) < options.epochs:
        epochs, patience = len(run.history), options.recipe.patience
        note(f"stopped after epoch {epochs}: {counted(patience, 'epoch')} without a better validation accuracy")


def _epoch(going: Prepared, train: Images, val: Images, threads: Threads, step: OnStep) -> Epoch:
    """Fit the weights to every training image once, and return how good they are then."""
    number, began = len(going.run.history) + 1, time.perf_counter()
    train_loss, train_accuracy = _train(going, train.at(number), number, threads, step)
    val_loss, val_accuracy, chance, _ = _validate(going, val)
    row = Epoch(
        epoch=number,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        seconds=round(time.perf_counter() - began, 3),
    )
    return row if chance is None else row | {"chance": chance}


def _train(going: Prepared, images: Images, number: int, threads: Threads, step: OnStep) -> tuple[float, float]:
    """Return the mean loss (nats) and the accuracy (0..1) on the way."""
    options, run, at = going.options, going.run, going.at
    torch.manual_seed(_epoch_seed(options.seed, number) + (at.world.rank << 32))  # dropout
    loader = batches(
        images,
        batch_size=options.recipe.batch_size,
        workers=at.workers,
        shuffle_seed=_epoch_seed(options.seed, number),
        device=at.device,
        world=at.world,
    )
    network = going.objective, going.network
    figures = train_epoch(run, *network, loader, options, at.device, number, step, threads, at.world)
    run.threads = threads.chosen or 0
    at.world.agree(run.model)
    return figures


def _validate(going: Prepared, val: Images) -> Measured:
    """Return how good the model is.

    Raises:
        TrainingError: the loss is no number; the last step of the epoch may have been the one too far.
    """
    found = going.objective.measure(going.run.model, val, going.options.recipe.batch_size, going.at)
    if not math.isfinite(found.loss):
        raise going.at.world.told(diverged(going.run, found.loss, len(going.run.history) + 1, going.options))
    return found


def _examine(going: Prepared, row: Epoch, watcher: Watcher) -> None:
    """Add to an epoch's row how its transformer is, if there is one that learns, and show its warps."""
    if (probe := going.probe) is None:
        return
    run, number = going.run, row["epoch"]
    assert isinstance(run.model, Classifier)  # no other model has a probe
    seen = probe.examine(run.model)
    row["transformer"] = judged(seen, run.contract, epoch=number, steps=number * going.steps)
    run.warps.append(torch.from_numpy(theta := probe.thetas(run.model)))
    watcher.warped(number, probe.shown(), theta, sampling_of(run.contract))


def _outlook(going: Prepared) -> Outlook:
    return Outlook(
        device=str(going.at.device),
        parameters=sum(weight.numel() for weight in going.run.model.parameters()),
        images=len(going.data.train),
        val_images=len(going.data.val),
        steps=going.steps,
        finished=len(going.run.history),
    )


def _epoch_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % (1 << 63)
