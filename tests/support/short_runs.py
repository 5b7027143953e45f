"""Runs of seconds, and what they leave compared."""

from pathlib import Path

import torch

from lstn.contract import Loc
from lstn.health.run_health import Epoch
from lstn.nn.checkpoint import read_tensors
from lstn.train.loop import TrainingResult, Watcher, fit
from lstn.train.options import Options
from lstn.train.run_state import LAST

CPU = torch.device("cpu")
SILENT = Watcher(lambda outlook: None, lambda *figures: None, lambda row, best: None)


def options(data: str, **changes: object) -> Options:
    chosen: dict[str, object] = {
        "loc": Loc.LSTN,
        "model": "cnn",
        "data": data,
        "weights": "",
        "image_size": 32,
        "epochs": 3,
        "patience": 10,
        "batch_size": 8,
        "lr": 0.002,
        "loc_lr_scale": 0.1,
        "precision": "fp32",
        "seed": 0,
    }
    return Options(**chosen | changes)  # type: ignore[arg-type]


def run(given: Options, folder: Path, *, resume: bool = False) -> TrainingResult:
    return fit(given, folder, device=CPU, workers=0, watcher=SILENT, resume=resume)


def weights_of(folder: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    return read_tensors(folder / name)[0]


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def without_time(history: tuple[Epoch, ...]) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]
