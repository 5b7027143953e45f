"""The state of a run after its last whole epoch: all that resuming needs, in one file without pickle."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from safetensors.torch import save
from torch import Tensor

from lstn.contract import Contract
from lstn.errors import ArtifactError
from lstn.files import write_bytes
from lstn.health.run_files import LAST as LAST
from lstn.health.run_health import Epoch, best_epoch, epoch_of
from lstn.nn.checkpoint import read_tensors
from lstn.nn.models import Model
from lstn.train.runs.options import Options
from lstn.untrusted.checked_json import Magnitude, Natural, checked, parsed

_KEY = "lstn.state"
_WARPS = "warps"
_MOST_INT = 2**31 - 1


@dataclass(slots=True)
class _Rest:
    """What a state holds beside tensors. Runs from before there were recipes lack what has a default."""

    options: str
    history: list[Any]
    scaler: dict[str, Annotated[int, Meta(ge=0, le=_MOST_INT)] | Magnitude]
    identity: str
    contract: str = ""
    threads: Natural = 0


@dataclass(slots=True)
class Run:
    """Everything that changes from epoch to epoch, and `identity`, which must not: a hash of contract and data set.

    threads: how many were chosen for this run, 0 before that
    warps: after every epoch, theta (n, …) of the images that `lstn.train.watch.probe` shows
    """

    model: Model
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    identity: str
    contract: Contract
    threads: int = 0
    history: list[Epoch] = field(default_factory=list)
    warps: list[Tensor] = field(default_factory=list)

    @property
    def best(self) -> Epoch | None:
        """The best epoch, as `best_epoch` says it; None before the first."""
        return best_epoch(self.history) if self.history else None

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
    if run.warps:
        tensors[_WARPS] = torch.stack(run.warps)
    rest = {
        "options": options.to_json(),
        "history": run.history,
        "scaler": run.scaler.state_dict(),
        "identity": run.identity,
        "contract": run.contract.to_json(),
        "threads": run.threads,
    }
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(whole, {_KEY: json.dumps(rest)}))


def read_options(path: Path) -> Options:
    """Read what the run at `path` was started with.

    Raises:
        ArtifactError: not the state of a run.
    """
    _, rest = _read(path)
    return Options.from_json(rest.options, source=str(path))


def read_identity(path: Path) -> str:
    """Read the hash of contract and data set that the run at `path` began with.

    Raises:
        ArtifactError: not the state of a run.
    """
    return _read(path)[1].identity


def restore(path: Path, run: Run, *, shown: int) -> None:
    """Bring a freshly made `run` to where the one at `path` stood.

    shown: how many images have their theta kept in `Run.warps`

    Raises:
        ArtifactError: not the state of a run with this model, or its data set has changed since.
    """
    tensors, rest = _read(path)
    _check_labels(path, rest.contract, run.contract)
    try:
        run.model.load_state_dict(_below("model.", tensors))
        _restore_optimizer(run.optimizer, tensors)
        _restore_scaler(run.scaler, rest.scaler)
    except (RuntimeError, KeyError, ValueError) as error:
        first = str(error).splitlines()[-1].strip()
        raise ArtifactError(f"{path}: the state of another model ({first:.200})") from error
    if rest.identity != run.identity:
        raise ArtifactError(
            f"{path}: the data set is not the one that this run began with, or it began when names alone were compared",
            hint="put the images, the boxes and the teacher that it learns from back as they were, or start a new run",
        )
    run.history, run.threads = rest.history, rest.threads
    if _WARPS in tensors:
        warps = tensors[_WARPS]
        if warps.shape[1:] != (shown, *run.contract.theta_shape) or len(warps) > len(run.history):
            raise ArtifactError(f"{path}: damaged: {_WARPS} have the shape {tuple(warps.shape)}")
        run.warps = list(warps.float())


def _check_labels(path: Path, began: str, now: Contract) -> None:
    """A class more or less would show as weights that don't fit, and a renamed one not at all."""
    if not began:  # a run from before this was kept
        return
    before = Contract.from_json(began, source=str(path)).labels
    if before == now.labels:
        return
    gone, new = sorted(set(before) - set(now.labels)), sorted(set(now.labels) - set(before))
    changes = [f"without {label!r}" for label in gone[:1]] + [f"with {label!r}" for label in new[:1]]
    how = ", ".join(changes) or "in another order"
    raise ArtifactError(
        f"{path}: the data set has {len(now.labels)} labels, {how}; the run began with {len(before)}",
        hint="put the class folders back as they were, or start a new run",
    )


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Each slot gets its weight's memory layout, as it had: else a step takes three times as long, for the same."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        number_of, slot = name.split(".")
        slots.setdefault(int(number_of), {})[slot] = tensor
    weights = dict(enumerate(weight for group in optimizer.param_groups for weight in group["params"]))
    for index, found in slots.items():
        shape = weights[index].shape
        wanted = {slot: torch.Size() if slot == "step" else shape for slot in _kept_by(optimizer)}
        if {slot: each.shape for slot, each in found.items()} != wanted:
            raise ValueError(f"what the optimizer keeps of weight {index} has another shape")
        if "step" in found and not 0 <= float(found["step"]) < math.inf:
            raise ValueError(f"weight {index} has taken {float(found['step'])} steps")
        slots[index] = {
            slot: each if slot == "step" else torch.empty_like(weights[index]).copy_(each)
            for slot, each in found.items()
        }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})


def _restore_scaler(scaler: torch.amp.GradScaler, found: dict[str, Any]) -> None:
    own = scaler.state_dict()
    if {name: type(value) for name, value in found.items()} != {name: type(value) for name, value in own.items()}:
        raise ValueError("its loss scaler has other fields")
    scaler.load_state_dict(found)


def _read(path: Path) -> tuple[dict[str, Tensor], _Rest]:
    tensors, metadata = read_tensors(path)
    what, hint = "state of a training run", "resume a folder under runs/"
    if _KEY not in metadata:
        raise ArtifactError(f"{path}: not the {what}", hint=hint)
    try:
        rest = checked(parsed(metadata[_KEY]), _Rest)
        rest.history = [epoch_of(row) for row in rest.history]
        for place, row in enumerate(rest.history, 1):
            if row["epoch"] != place:
                raise ValueError(f"epoch {place} is called {row['epoch']!r:.40}")
        return tensors, rest
    except ValueError as error:
        raise ArtifactError(f"{path}: not the {what}, or damaged ({error!s:.300})", hint=hint) from error


def _kept_by(optimizer: torch.optim.Optimizer) -> frozenset[str]:
    """Return the names of what it keeps of a weight that has had a gradient."""
    return frozenset(
        {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    )
