"""The state of a run after its last whole epoch: all that resuming needs, in one file without pickle."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import save
from torch import Tensor

from lstn.errors import ArtifactError
from lstn.files import write_bytes
from lstn.train.checkpoint import read_tensors
from lstn.train.model import Classifier
from lstn.train.options import Options

LAST = "last.safetensors"
"""Name of the state inside a run's folder."""

_KEY = "lstn.state"
_FIELDS = ("options", "history", "scaler", "identity")


class Epoch(TypedDict):
    """One line of metrics.jsonl. Losses in nats, accuracies 0..1, seconds of training and validation."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass(slots=True)
class Run:
    """Everything that changes from epoch to epoch, and `identity`, which must not: a hash of contract and data set."""

    model: Classifier
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    identity: str
    history: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        """The first epoch with the highest validation accuracy."""
        return max(self.history, key=lambda epoch: epoch["val_accuracy"], default=None)

    @property
    def flat_epochs(self) -> int:
        """Whole epochs since the best one."""
        return len(self.history) - self.best["epoch"] if self.best else 0


def write_state(path: Path, run: Run, options: Options) -> None:
    """Write the run after a whole epoch. This file is the truth: metrics.jsonl is written anew from it."""
    tensors = {f"model.{name}": tensor for name, tensor in run.model.state_dict().items()}
    optimizer = run.optimizer.state_dict()
    for index, slots in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    rest = {
        "options": options.to_json(),
        "history": run.history,
        "scaler": run.scaler.state_dict(),
        "identity": run.identity,
    }
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(whole, {_KEY: json.dumps(rest)}))


def read_options(path: Path) -> Options:
    """Read what the run at `path` was started with.

    Raises:
        ArtifactError: not the state of a run.
    """
    _, rest = _read(path)
    return Options.from_json(rest["options"], source=str(path))


def restore(path: Path, run: Run) -> None:
    """Bring a freshly made `run` to where the one at `path` stood.

    Raises:
        ArtifactError: not the state of a run with this model, or its data set has changed since.
    """
    tensors, rest = _read(path)
    try:
        run.model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
        _restore_optimizer(run.optimizer, tensors)
        run.scaler.load_state_dict(rest["scaler"])
    except (RuntimeError, KeyError, ValueError) as error:
        first = str(error).splitlines()[-1].strip()
        raise ArtifactError(f"{path}: the state of another model ({first:.200})") from error
    if rest["identity"] != run.identity:
        raise ArtifactError(
            f"{path}: the data set is not the one that this run began with",
            hint="put the images back as they were, or start a new run",
        )
    run.history = rest["history"]


def _restore_optimizer(optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_tensors(path)
    try:
        rest = json.loads(metadata[_KEY])
        return tensors, {name: rest[name] for name in _FIELDS}
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path}: not the state of a training run", hint="resume a folder under runs/") from error
