"""The training loop: images -> a run's folder with the best checkpoint, and a state to resume from."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, Contract
from lstn.data import DataSet, Split, open_data
from lstn.errors import LstnError, TrainingError, UsageError
from lstn.files import write_text
from lstn.terminal import note
from lstn.train.checkpoint import CHECKPOINT, Training, load_checkpoint, write_checkpoint
from lstn.train.loading import Batch, Images, batches
from lstn.train.model import Classifier
from lstn.train.options import Options, Precision
from lstn.train.pretrained import load_backbone_weights
from lstn.train.state import LAST, Epoch, Run, restore, write_state

METRICS = "metrics.jsonl"

Step = Callable[[int, int, float, float], None]
"""Called after every batch with the epoch, images seen in it, mean loss and accuracy so far."""

_AMP = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished run came to: the best epoch's model on the CPU, and how good it is; accuracies 0..1."""

    checkpoint: Path
    model: Classifier
    val: Split
    history: tuple[Epoch, ...]
    best: Epoch
    test_accuracy: float
    test_images: int


@dataclass(frozen=True, slots=True)
class Watcher:
    """Where progress goes. `started` hears the number of training images, `epoch` every finished epoch."""

    started: Callable[[int, int], None]
    step: Step
    epoch: Callable[[Epoch, Epoch], None]


def fit(
    options: Options, folder: Path, *, device: torch.device, workers: int, watcher: Watcher, resume: bool
) -> Result:
    """Train until `options.epochs`, or until validation accuracy stays flat for `options.patience` epochs.

    After every epoch `folder` holds the best checkpoint, the state to resume from, and metrics.jsonl, each written
    whole. An epoch depends on the options and its own number alone, so on a CPU a run that was killed and resumed
    ends with the same weights as one that wasn't.

    Raises:
        UsageError, DataError: options that name nothing, or a data set that can't be used.
        TrainingError: the loss is no number any more.
    """
    data = open_data(options.data, image_hw=(options.image_size, options.image_size), seed=options.seed)
    contract = describe(options, data)
    splits = (data.train, data.val, data.test)  # all three now: a broken test set is to be known before training
    run = start(options, contract, device, splits)
    if resume:
        restore(folder / LAST, run)
    else:
        if options.weights:
            fresh = load_backbone_weights(run.model.backbone, options.model, options.weights)
            note(f"{options.model} starts from {options.weights}" + (f"; new: {', '.join(fresh)}" if fresh else ""))
        claim(folder)
        write_state(folder / LAST, run, options)  # so that a run killed in its first epoch can be resumed too
    watcher.started(len(data.train), len(run.history))
    train, val = None, Images(data.val)
    while len(run.history) < options.epochs and run.flat_epochs < options.patience:
        number = len(run.history) + 1
        began = time.perf_counter()
        split = data.train.redrawn(number)
        if train is None or split is not data.train:  # images that stay the same are decoded once
            train = Images(split)
        torch.manual_seed(_epoch_seed(options.seed, number))  # dropout
        loader = batches(
            train,
            batch_size=options.batch_size,
            workers=workers,
            shuffle_seed=_epoch_seed(options.seed, number),
            device=device,
        )
        train_loss, train_accuracy = train_epoch(run, loader, options.precision, device, number, watcher.step)
        val_loss, val_accuracy = evaluate(run.model, val, options.batch_size, workers, device)
        if not math.isfinite(val_loss):  # the last step of the epoch may have been the one too far
            raise diverged(run, val_loss, number)
        seconds = time.perf_counter() - began
        run.history.append(
            Epoch(
                epoch=number,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=round(seconds, 3),
            )
        )
        best = keep(run, folder, contract, options)
        watcher.epoch(run.history[-1], best)
    return finish(folder, data, run, options, workers, device)


def describe(options: Options, data: DataSet) -> Contract:
    """Return what the model will be. Weights trained on ImageNet want its normalisation, others the data set's own."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if options.weights else (data.mean, data.std)
    return Contract(options.loc, options.model, (options.image_size, options.image_size), data.labels, mean, std)


def claim(folder: Path) -> None:
    """Make the run's folder, which no other run may have: two that started together would overwrite each other.

    Raises:
        UsageError: it exists.
        LstnError: it can't be made.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        cure = f"go on with: lstn train --resume {folder}" if (folder / LAST).is_file() else "remove it"
        raise UsageError(f"{folder} exists", hint=f"choose another --name, or {cure}") from error
    except OSError as error:
        raise LstnError(f"cannot make {folder}: {error.strerror}", hint="start from another folder") from error


def start(options: Options, contract: Contract, device: torch.device, splits: Sequence[Split]) -> Run:
    """Make the model, the optimizer and the loss scaler as they are before the first epoch."""
    torch.manual_seed(options.seed)
    model = Classifier(contract).to(device)
    groups = [{"params": list(model.backbone.parameters()), "lr": options.lr}]
    if model.transformer is not None:
        groups.append({"params": list(model.transformer.parameters()), "lr": options.lr * options.loc_lr_scale})
    optimizer = torch.optim.Adam(groups)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    identity = "\n".join([contract.to_json(), *(split.fingerprint for split in splits)])
    return Run(model, optimizer, scaler, hashlib.sha256(identity.encode()).hexdigest())


def train_epoch(
    run: Run,
    loader: torch.utils.data.DataLoader[Batch],
    precision: Precision,
    device: torch.device,
    number: int,
    step: Step,
) -> tuple[float, float]:
    """Fit the weights to every batch once; return the mean loss (nats) and the accuracy (0..1) on the way."""
    run.model.train()
    seen, loss_sum, right = 0, 0.0, 0
    for pixels, labels in loader:
        pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        logits = forward(run.model, pixels, precision)
        loss = F.cross_entropy(logits.float(), labels)
        if not math.isfinite(value := loss.item()):
            raise diverged(run, value, number)
        run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        run.scaler.step(run.optimizer)
        run.scaler.update()
        seen += len(labels)
        loss_sum += value * len(labels)
        right += int((logits.argmax(1) == labels).sum())
        step(number, seen, loss_sum / seen, right / seen)
    return loss_sum / seen, right / seen


def diverged(run: Run, loss: float, number: int) -> TrainingError:
    """Return what to say of a loss that is no number."""
    best = run.best
    kept = f"the checkpoint of epoch {best['epoch']} is kept" if best else "no epoch was finished before"
    return TrainingError(
        f"the loss became {loss} in epoch {number}; {kept}",
        hint="start a new run with a lower --lr or --loc-lr-scale, or with --precision fp32",
    )


def forward(model: Classifier, pixels: Tensor, precision: Precision) -> Tensor:
    """pixels (N, H, W, 3) uint8 -> logits (N, K); only the backbone runs in a lower precision.

    Coordinates in half precision would be 0.1 pixel coarse at 224, so the transformer stays outside.
    """
    images, _ = model.transform(pixels)
    with torch.autocast(pixels.device.type, _AMP[precision], enabled=precision != "fp32"):
        logits: Tensor = model.backbone(images)
    return logits


@torch.no_grad()
def evaluate(
    model: Classifier, images: Images, batch_size: int, workers: int, device: torch.device
) -> tuple[float, float]:
    """Return the mean loss (nats) and the accuracy (0..1) in float32, as the exported model computes."""
    model.eval()
    loss_sum, right = 0.0, 0
    for pixels, labels in batches(images, batch_size=batch_size, workers=workers, shuffle_seed=None, device=device):
        logits = forward(model, pixels.to(device), "fp32").cpu()
        loss_sum += float(F.cross_entropy(logits, labels, reduction="sum"))
        right += int((logits.argmax(1) == labels).sum())
    return loss_sum / len(images), right / len(images)


def keep(run: Run, folder: Path, contract: Contract, options: Options) -> Epoch:
    """Write what the last epoch came to, and return the best epoch so far.

    The checkpoint goes first: a run that is killed before its state follows repeats the epoch to the same end.
    """
    latest, best = run.history[-1], run.best
    assert best is not None  # there is a latest epoch
    if best is latest:
        training = Training(options.data, options.seed, latest["epoch"], latest["val_accuracy"])
        write_checkpoint(folder / CHECKPOINT, run.model, contract, training)
    write_state(folder / LAST, run, options)
    write_metrics(folder, run.history)
    return best


def write_metrics(folder: Path, history: list[Epoch], **last: float) -> None:
    """Write metrics.jsonl: one line an epoch, and one with `last` once the run has ended."""
    rows = [json.dumps(epoch) for epoch in history]
    write_text(folder / METRICS, "\n".join([*rows, *([json.dumps(last)] if last else [])]) + "\n")


def finish(folder: Path, data: DataSet, run: Run, options: Options, workers: int, device: torch.device) -> Result:
    """Test the best checkpoint, once, on images that chose nothing."""
    best = run.best
    assert best is not None  # a run has at least one epoch
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    test = Images(data.test)
    loss, accuracy = evaluate(checkpoint.model.to(device), test, options.batch_size, workers, device)
    write_metrics(folder, run.history, best_epoch=best["epoch"], test_loss=loss, test_accuracy=accuracy)
    return Result(folder / CHECKPOINT, checkpoint.model.cpu(), data.val, tuple(run.history), best, accuracy, len(test))


def _epoch_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % (1 << 63)
