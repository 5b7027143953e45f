"""Runs of seconds, and what they leave compared."""

from pathlib import Path
from typing import get_type_hints

import torch

from lstn.contract import Loc
from lstn.health.run_health import Epoch
from lstn.nn.checkpoint import read_tensors
from lstn.recipe import Recipe
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST
from lstn.train.tested import TrainingResult
from lstn.train.watch.watcher import SILENT

CPU = torch.device("cpu")


def options(data: str, **changes: object) -> Options:
    """changes: of the options or of their recipe"""
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
    chosen |= changes
    for name in {"image_size", "view", "crop"} & chosen.keys():
        if isinstance(chosen[name], int):
            chosen[name] = (chosen[name], chosen[name])
    recipe = Recipe(**{name: chosen.pop(name) for name in get_type_hints(Recipe) if name in chosen})  # type: ignore[arg-type]
    return Options(recipe=recipe, **chosen)  # type: ignore[arg-type]


def run(given: Options, folder: Path, *, resume: bool = False) -> TrainingResult:
    return train_to_end(given, folder, device=CPU, workers=0, watcher=SILENT, resume=resume)


def weights_of(folder: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    return read_tensors(folder / name)[0]


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def without_time(history: tuple[Epoch, ...]) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]
