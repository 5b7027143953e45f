"""Files that a run writes after every epoch: the state, which is the truth, and what follows from it."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from lstn.contract import Task
from lstn.data.dataset import DataSet
from lstn.errors import ArtifactError
from lstn.files import write_text
from lstn.formats.training_record import Training
from lstn.health.run_health import METRICS, Epoch, in_file
from lstn.nn.backbones import FOREIGN
from lstn.nn.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint, write_checkpoint
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, Run, write_state


def keep(run: Run, folder: Path, options: Options, data: DataSet) -> None:
    """Write what the last epoch came to. The checkpoint says what `data` was, and how it was divided into splits.

    The state goes first. Should the run be killed before the rest follows, `mend` makes that from it: the checkpoint of
    an epoch that the state doesn't know of yet could take the place of one that, repeated elsewhere, stays the best.
    """
    write_state(folder / LAST, run, options)
    if run.best is run.history[-1]:
        _write_best(run, folder, options, data)
    write_metrics(folder, run.history, run.contract.task)


def mend(run: Run, folder: Path, options: Options, data: DataSet) -> None:
    """Make sure that the checkpoint of a run that goes on is its best epoch's, now and not after hours of training.

    Raises:
        ArtifactError: it isn't, or is gone, and the state holds the weights of a later epoch.
    """
    best = run.best
    if best is None:
        return
    if best is run.history[-1]:
        _write_best(run, folder, options, data)
        return
    lost = f"put back the checkpoint of epoch {best['epoch']}, this run's best, or start a new run"
    try:
        found = load_best(folder, run).training.epoch
    except ArtifactError as error:
        raise ArtifactError(error.message, hint=lost) from error
    if found != best["epoch"]:
        raise ArtifactError(f"{folder / CHECKPOINT}: the weights of epoch {found}", hint=lost)


def load_best(folder: Path, run: Run) -> Checkpoint:
    """Read the checkpoint of the run's best epoch; the run's own model stays as it is.

    Raises:
        ArtifactError: it is gone, or not this run's.
    """
    foreign = run.contract.backbone.startswith(FOREIGN)
    return load_checkpoint(folder / CHECKPOINT, deepcopy(run.model.backbone) if foreign else None)


def write_metrics(folder: Path, history: list[Epoch], task: Task, **last: float) -> None:
    """Write metrics.jsonl: one line an epoch, and one with `last` once the run has ended."""
    rows: list[Mapping[str, object]] = [*history, *([last] if last else [])]
    write_text(folder / METRICS, "".join(f"{json.dumps(in_file(row, task))}\n" for row in rows))


def _write_best(run: Run, folder: Path, options: Options, data: DataSet) -> None:
    latest = run.history[-1]
    training = Training(
        options.data,
        options.seed,
        latest["epoch"],
        latest["val_accuracy"],
        data.parts,
        data.train.fingerprint,
        latest.get("chance"),
    )
    write_checkpoint(folder / CHECKPOINT, run.model, run.contract, training)
