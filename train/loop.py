"""The training loop: images -> a run's folder with the best checkpoint, and a state to resume from."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, At, Contract, Loc, ThetaForm
from lstn.data.dataset import DataSet, Split, check_labels, open_data
from lstn.errors import UsageError
from lstn.evaluation.scores import Scores, Tally
from lstn.files import remove_leftovers
from lstn.health.chance import chance_level
from lstn.health.liveness import judged
from lstn.health.run_health import Epoch
from lstn.images import Pixels
from lstn.machine.lock import locked
from lstn.nn.checkpoint import CHECKPOINT
from lstn.nn.classifier import Classifier
from lstn.nn.device import check_compiler
from lstn.nn.pretrained import load_backbone_weights
from lstn.nn.starts import scale_dropout, start_weights
from lstn.terminal import note, note_once
from lstn.train.augment import Augmentation
from lstn.train.distributed import ALONE, World
from lstn.train.downloads import download
from lstn.train.fitting import Network, OnStep, check_step, diverged, forward, train_epoch
from lstn.train.keeping import keep, load_best, mend, write_metrics
from lstn.train.loading import Images, batches
from lstn.train.options import Options
from lstn.train.recipes import dropout_share, make_optimizer
from lstn.train.run_folder import claimed
from lstn.train.run_state import LAST, Run, restore, write_state
from lstn.train.step_memory import check_memory
from lstn.train.threads import threads_here
from lstn.train.watch.probe import Probe
from lstn.warp import Colour, Theta, outside_of


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a finished run came to: the best epoch's model on the CPU, and how good it is; accuracies 0..1.

    test_is_val: there are no test images, and the validation images that chose the epoch are tested
    shown, warps: a few validation images (n, H, W, 3), and their theta (n, 2, 3) after every epoch; None and nothing
                  without a transformer
    """

    checkpoint: Path
    model: Classifier
    contract: Contract
    val: Split
    history: tuple[Epoch, ...]
    best: Epoch
    test_accuracy: float
    test_images: int
    test_is_val: bool
    scores: Scores
    shown: Pixels | None
    warps: tuple[Theta, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run is about to do. images, val_images: in an epoch; steps: of an epoch; finished: epochs before."""

    device: str
    parameters: int
    images: int
    val_images: int
    steps: int
    finished: int


@dataclass(frozen=True, slots=True)
class Watcher:
    """Where progress goes. `started` hears what is about to be done, `epoch` every finished epoch, `warped` before that
    what a few images (n, H, W, 3), their theta (n, 2, 3) and the colour outside of the frame are in it, if there is a
    transformer."""

    started: Callable[[Outlook], None]
    step: OnStep
    epoch: Callable[[Epoch, Epoch], None]
    warped: Callable[[int, Pixels, Theta, Colour], None] = lambda epoch, pixels, theta, outside: None


SILENT = Watcher(lambda outlook: None, lambda *figures: None, lambda row, best: None)
"""Hears everything and says nothing, as all processes of a run but the first do."""


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
    given: Classifier | None = None,
) -> TrainingResult:
    """Train until `options.epochs`, or until validation accuracy stays flat for `options.patience` epochs.

    After every epoch `folder` holds the best checkpoint, the state to resume from, and metrics.jsonl, each written
    whole. An epoch depends on the options and its own number alone, so on a CPU a run that was killed and resumed
    ends with the same weights as one that wasn't. Each process of `world` calls this, and `folder` is one that all of
    them see.

    given: the model to train, in place; by default one is made of the options

    Raises:
        UsageError, DataError: options that name nothing, a data set that can't be used, or another process
            trains there.
        DeviceError: it is to be compiled, and there is no C++ compiler.
        TrainingError: the loss is no number any more.
    """
    with ExitStack() as held:  # the run's folder, once there is one
        return _fit(options, folder, device, workers, watcher, resume, world, compiled, given, held)


def _fit(
    options: Options,
    folder: Path,
    device: torch.device,
    workers: int,
    watcher: Watcher,
    resume: bool,
    world: World,
    compiled: bool,
    given: Classifier | None,
    held: ExitStack,
) -> TrainingResult:
    with world.together():
        if compiled:
            check_compiler()
        if world.rank == 0:  # and before the others, who then find the set unpacked and its images checked
            download(options.data)
            data = opened(options, given)
    with world.together():
        if world.rank > 0:
            data = opened(options, given)
        contract = describe(options, data, given)
        if given is None:  # of a network that isn't lstn's nobody knows what it takes
            check_memory(contract, min(options.batch_size, len(data.train)), device)
        run = start(options, contract, device, (data.train, data.val, data.test), given)
        if options.batch_size < 2 * world.size > 2:
            raise UsageError(
                f"a batch of {options.batch_size} is too small for {world.size} processes, of 2 images each"
            )
        check_step(run.contract, min(options.batch_size, len(data.train)), given)
        probe = None
        if options.loc not in (Loc.NONE, Loc.IDENTITY):
            probe = Probe(data.val, run.contract, training_images=len(data.train), batch_size=options.batch_size)
        if options.weights and not resume:
            fresh = load_backbone_weights(run.model.backbone, options.model, options.weights)
            note(f"{options.model} starts from {options.weights}" + (f"; new: {', '.join(fresh)}" if fresh else ""))
    with world.together():
        world.same("the data set", run.identity)
        if not resume and world.rank == 0:
            with claimed(folder) as claim:
                write_state(claim / LAST, run, options)  # so that a run killed in its first epoch can be resumed too
        if world.rank == 0:
            held.enter_context(locked(folder))
        if resume and world.rank == 0:
            remove_leftovers(folder)
    with world.together():
        if not (folder / LAST).is_file():
            raise UsageError(f"process {world.rank} sees no {folder / LAST}", hint="machines need one folder in common")
        if resume:
            restore(folder / LAST, run, shown=len(probe.shown()) if probe else 0)
            if world.rank == 0:
                mend(run, folder, options, data)
    network = world.wrapped(Network(run.model, options.precision, compiled=compiled), device)
    watcher = watcher if world.rank == 0 else SILENT
    watcher.started(_outlook(run, data, options, device))
    threads = threads_here(device, run.threads)
    augment = Augmentation(options.augment, image_hw=run.contract.image_hw, mirrors=data.mirrors, seed=options.seed)
    train, val = Images(data.train, augment), Images(data.val)
    if given is None:
        scale_dropout(run.model.backbone, dropout_share(options, options.epochs * len(data.train)))
    while len(run.history) < options.epochs and run.flat_epochs < options.patience:
        number = len(run.history) + 1
        began = time.perf_counter()
        torch.manual_seed(_epoch_seed(options.seed, number) + (world.rank << 32))  # dropout
        loader = batches(
            train.at(number),
            batch_size=options.batch_size,
            workers=workers,
            shuffle_seed=_epoch_seed(options.seed, number),
            device=device,
            world=world,
        )
        train_loss, train_accuracy = train_epoch(
            run, network, loader, options, device, number, watcher.step, threads, world
        )
        run.threads = threads.chosen or 0
        world.agree(run.model)
        classes = torch.zeros(len(data.labels), dtype=torch.int64)
        val_loss, val_accuracy = evaluate(run.model, val, options.batch_size, workers, device, world, classes=classes)
        if not math.isfinite(val_loss):  # the last step of the epoch may have been the one too far
            raise world.told(diverged(run, val_loss, number, options))
        seconds = time.perf_counter() - began
        run.history.append(
            Epoch(
                epoch=number,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=round(seconds, 3),
                chance=chance_level(int(classes.max()) / len(val), len(val)),
            )
        )
        if probe is not None:
            steps = number * -(-len(data.train) // options.batch_size)
            seen = probe.examine(run.model)
            run.history[-1]["transformer"] = judged(seen, run.contract, epoch=number, steps=steps)
            run.warps.append(torch.from_numpy(theta := probe.thetas(run.model)))
            watcher.warped(number, probe.shown(), theta, outside_of(run.contract.mean))
        with world.together():
            if world.rank == 0:
                keep(run, folder, options, data)
        assert run.best is not None  # there is a latest epoch
        watcher.epoch(run.history[-1], run.best)
    if len(run.history) < options.epochs:
        note(f"stopped after epoch {len(run.history)}: {options.patience} epochs without a better validation accuracy")
    return finish(folder, data, run, options, workers, device, world, probe.shown() if probe else None)


def _outlook(run: Run, data: DataSet, options: Options, device: torch.device) -> Outlook:
    return Outlook(
        device=str(device),
        parameters=sum(weight.numel() for weight in run.model.parameters()),
        images=len(data.train),
        val_images=len(data.val),
        steps=-(-len(data.train) // options.batch_size),
        finished=len(run.history),
    )


def opened(options: Options, given: Classifier | None = None) -> DataSet:
    """Open the data set with all three splits: a broken test set is to be known before training."""
    image_hw = (options.image_size, options.image_size) if given is None else given.contract.image_hw
    data = open_data(options.data, image_hw=image_hw, seed=options.seed)
    if data.found:
        note_once(data.found)
    _ = data.train, data.val, data.test
    return data


def describe(options: Options, data: DataSet, given: Classifier | None = None) -> Contract:
    """Return what the model is, or will be.

    Weights trained on ImageNet want its normalisation, others the data set's own.
    """
    if given is not None:
        check_labels(given.contract, data, options.data)
        return given.contract
    plain = replace(options, theta=ThetaForm.AFFINE, iterations=1, at=At.INPUT)
    if options.loc in (Loc.NONE, Loc.IDENTITY) and options != plain:
        raise UsageError(
            f"a model of loc {options.loc.value} has no localizer", hint="leave out --theta, --iterations and --at"
        )
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if options.weights else (data.mean, data.std)
    image_hw = (options.image_size, options.image_size)
    contract = Contract(
        options.loc, options.model, image_hw, data.labels, mean, std, options.theta, options.iterations, options.at
    )
    # What can't be read back, such as labels too long together, is to be known before the first epoch.
    return Contract.from_json(contract.to_json(), source=f"--data {options.data}")


def start(
    options: Options,
    contract: Contract,
    device: torch.device,
    splits: Sequence[Split],
    given: Classifier | None = None,
) -> Run:
    """Make the model, the optimizer and the loss scaler as they are before the first epoch."""
    torch.manual_seed(options.seed)
    if given is None:
        model = Classifier(contract)
        start_weights(model.backbone, options.seed)
        # Convolutions are fastest so, on a CPU too; pixels arrive so, and what the sampler warps then goes on so.
        model = model.to(device).to(memory_format=torch.channels_last)
    else:  # a network that isn't lstn's may call `view` on what it computes
        model = given.to(device)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    return Run(model, make_optimizer(model, options), scaler, identity(contract, splits), contract)


def identity(contract: Contract, splits: Sequence[Split]) -> str:
    """Return the SHA-256 of what a run may not change while it lasts: the model and the images."""
    parts = [contract.to_json(), *(split.fingerprint for split in splits)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@torch.no_grad()
def evaluate(
    model: Classifier,
    images: Images,
    batch_size: int,
    workers: int,
    device: torch.device,
    world: World = ALONE,
    tally: Tally | None = None,
    classes: Tensor | None = None,
) -> tuple[float, float]:
    """Return the mean loss (nats) and the accuracy (0..1) in float32, as the exported model computes.

    `tally` counts the answers that this process computes; to `classes` (K,) int64 the images of each class are added,
    over all processes.
    """
    model.eval()
    loss_sum, right = 0.0, 0
    loader = batches(images, batch_size=batch_size, workers=workers, shuffle_seed=None, device=device, world=world)
    for pixels, labels in loader:
        logits = forward(model, pixels.to(device), "fp32").cpu()
        loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
        if tally is not None:
            tally.add(logits.numpy(), labels.numpy())
        if classes is not None:
            classes += torch.bincount(labels, minlength=len(classes))
    if classes is not None:
        classes.copy_(torch.tensor(world.sum(classes.to(device))))
    loss_sum, hits = world.sum(torch.tensor([loss_sum, right], dtype=torch.float64, device=device))
    return loss_sum / len(images), hits / len(images)


def finish(
    folder: Path,
    data: DataSet,
    run: Run,
    options: Options,
    workers: int,
    device: torch.device,
    world: World,
    shown: Pixels | None,
) -> TrainingResult:
    """Test the best checkpoint, once, on images that chose nothing."""
    best = run.best
    assert best is not None  # a run has at least one epoch
    checkpoint = load_best(folder, run)
    test = Images(data.test)
    tally, model = Tally(data.labels), checkpoint.model.to(device)
    loss, accuracy = evaluate(model, test, options.batch_size, workers, device, world, tally)
    tally.merge(world.others(tally))
    if world.rank == 0:
        write_metrics(folder, run.history, best_epoch=best["epoch"], test_loss=loss, test_accuracy=accuracy)
    warps = tuple(theta.numpy() for theta in run.warps)
    return TrainingResult(
        checkpoint=folder / CHECKPOINT,
        model=model.cpu(),
        contract=run.contract,
        val=data.val,
        history=tuple(run.history),
        best=best,
        test_accuracy=accuracy,
        test_images=len(test),
        test_is_val=data.test_is_val,
        scores=tally.scores(),
        shown=shown,
        warps=warps,
    )


def _epoch_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % (1 << 63)
