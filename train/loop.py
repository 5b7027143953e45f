"""The training loop: images -> a run's folder with the best checkpoint, and a state to resume from."""

import math
from itertools import count
from pathlib import Path
from time import perf_counter

import torch

from lstn.errors import TrainingError
from lstn.health.generator_health import judged_generator
from lstn.health.liveness import judged
from lstn.health.run_health import Epoch
from lstn.nn.classifier import Classifier
from lstn.nn.generation.generator import Generator
from lstn.nn.models import Model
from lstn.nn.sources.own_models import OwnFactory
from lstn.report.wording import counted
from lstn.synthesis.generation_scores import GenerationScores
from lstn.terminal import note
from lstn.train.batches.loading import Images, batches, loaders_watched
from lstn.train.computing.distributed import ALONE, World
from lstn.train.computing.threads import Threads, threads_here
from lstn.train.computing.workplace import Workplace
from lstn.train.fitting import diverged, train_epoch
from lstn.train.objectives.objective import Measured
from lstn.train.preparing import Prepared, prepared
from lstn.train.runs.keeping import keep
from lstn.train.runs.options import Options
from lstn.train.schedule import HOUR_S, EpochPlan, epochs_planned, next_epoch, spent_s
from lstn.train.tested import TrainingResult, finish
from lstn.train.watch.sample_sheet import save_sheet
from lstn.train.watch.watcher import SILENT, OnStep, Outlook, Watcher
from lstn.waiting import duration
from lstn.warps.warp import sampling_of

_TELLING = 16
"""The first steps of a run, by which the time of an epoch is known. Among them are some that prepare kernels."""


def train_to_end(
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
    if (done := len(run.history)) >= epochs_planned(options, run.history):
        note(f"{at.folder} has all of its {counted(done, 'epoch')}; a larger --epochs trains on")
    threads = threads_here(at.device, run.threads)
    train, val = going.training_images(), going.images(data.val)
    while len(run.history) < epochs_planned(options, run.history) and run.flat_epochs < options.recipe.patience:
        run.history.append(row := _epoch(going, train, val, threads, watcher.step))
        _examine(going, row, watcher)
        with at.world.together():
            if at.world.rank == 0:
                keep(run, at.folder, options, data)
        assert run.best is not None  # there is a latest epoch
        watcher.epoch(row, run.best)
        if options.recipe.hours and row["epoch"] == 1:
            fit = counted(epochs_planned(options, run.history), "epoch")
            note(f"an epoch takes {duration(row['seconds'])}, so {fit} fit into {options.recipe.hours:g} h")
    if len(run.history) < epochs_planned(options, run.history):
        epochs, patience = len(run.history), options.recipe.patience
        note(f"stopped after epoch {epochs}: {counted(patience, 'epoch')} without a better validation accuracy")


def _epoch(going: Prepared, train: Images, val: Images, threads: Threads, step: OnStep) -> Epoch:
    """Fit the weights to every training image once, and return how good they are then."""
    plan, began, hours = next_epoch(going.options, going.run.history), perf_counter(), going.options.recipe.hours
    step = _until_known(going, step, began) if hours and plan.number == 1 else step
    train_loss, train_accuracy = _train(going, train.at(plan.number), plan, threads, step)
    val_loss, val_accuracy, chance, scores = _validate(going, val)
    row = Epoch(
        epoch=plan.number,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        seconds=float(going.at.world.first(f"{perf_counter() - began:.3f}")),
    )
    if chance is not None:
        row["chance"] = chance
    if isinstance(scores, GenerationScores):
        steps = plan.number * going.steps
        row["generator"] = judged_generator(scores.variety, train_accuracy, epoch=plan.number, steps=steps)
    if hours:
        row["planned"], row["hours"] = epochs_planned(going.options, going.run.history), hours
    return row


def _until_known(going: Prepared, step: OnStep, began: float) -> OnStep:
    """Return `step`, which ends a run as soon as it is known that its time budget is too short.

    Raises:
        TrainingError: two epochs don't fit into it.
    """
    taken, budget_s = count(1), going.options.recipe.hours * HOUR_S

    def checked(epoch: int, seen: int, loss: float, accuracy: float) -> None:
        step(epoch, seen, loss, accuracy)
        if next(taken) != _TELLING:
            return
        epoch_s = float(going.at.world.first(f"{(perf_counter() - began) * len(going.data.train) / seen:.3f}"))
        if 2 * epoch_s > budget_s:
            raise going.at.world.told(
                TrainingError(
                    f"an epoch takes {duration(epoch_s)}, and two don't fit into --hours {budget_s / HOUR_S:g}",
                    hint=f"continue with: lstn train --resume {going.at.folder} --hours {2.5 * epoch_s / HOUR_S:.2g}",
                )
            )

    return checked


def _train(going: Prepared, images: Images, plan: EpochPlan, threads: Threads, step: OnStep) -> tuple[float, float]:
    """Return the mean loss (nats) and the accuracy (0..1) on the way."""
    options, run, at, number = going.options, going.run, going.at, plan.number
    torch.manual_seed(_epoch_seed(options.seed, number) + (at.world.rank << 32))  # dropout
    loader = batches(
        images,
        batch_size=options.recipe.batch_size,
        workers=at.workers,
        shuffle_seed=_epoch_seed(options.seed, number),
        device=at.device,
        world=at.world,
        balance=going.labels if options.recipe.balance == "sampling" else None,
    )
    network = going.objective, going.network
    figures = train_epoch(run, *network, loader, options, at.device, plan, step, threads, at.world)
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
    """Add to an epoch's row how its transformer is, if there is one that learns; show its warps, or what is painted."""
    if going.sheet is not None:
        assert isinstance(going.run.model, Generator)
        sheet = going.sheet.drawn(going.run.model)
        if going.at.world.rank == 0:
            save_sheet(going.at.folder, row["epoch"], sheet)
        watcher.painted(row["epoch"], sheet)
    if (probe := going.probe) is None:
        return
    run, number = going.run, row["epoch"]
    assert isinstance(run.model, Classifier)  # no other model has a probe
    seen = probe.examine(run.model)
    steps, moved = number * going.steps, going.options.recipe.equivariance > 0
    row["transformer"] = judged(seen, run.contract, epoch=number, steps=steps, moved=moved)
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
        spent_s=spent_s(going.run.history),
    )


def _epoch_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % (1 << 63)
