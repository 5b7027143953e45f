"""Training for a study: every localizer with every seed, each in a folder of its own, and what each came to."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lstn.contract import Loc
from lstn.data import DataSet, Split, open_data
from lstn.errors import UsageError
from lstn.evaluation import score
from lstn.study.results import CELL, SHOWN, SWEEP, SWEPT_IMAGES, Cell, read_cell, spaced, write_cell
from lstn.train.checkpoint import CHECKPOINT
from lstn.train.classify import open_checkpoint
from lstn.train.loop import Watcher, describe, fit, identity
from lstn.train.model import Classifier
from lstn.train.options import Options
from lstn.train.state import LAST, read_identity, read_options

_BATCH = 64


def train_cell(
    options: Options,
    folder: Path,
    *,
    device: torch.device,
    workers: int,
    watching: Callable[[Options], AbstractContextManager[Watcher]],
) -> Cell:
    """Return what one run came to; what isn't there yet is trained, from the last whole epoch on, and measured.

    folder: of this run alone

    Raises:
        UsageError: the folder holds a run with other options, or on other images.
    """
    if (folder / CELL).is_file():
        _check_same(folder, options)
        _check_images(folder, options)
        return read_cell(folder)
    resume = (folder / LAST).is_file()
    if resume:
        _check_same(folder, options)
    with suppress(OSError):
        folder.rmdir()  # empty if a run was killed before its first state was written; any other stays
    with watching(options) as watcher:
        result = fit(options, folder, device=device, workers=workers, watcher=watcher, resume=resume)
    best = result.best
    test = _data(options).test
    plain, disturbed = _sweep(folder / CHECKPOINT, test, device)
    cell = Cell(
        loc=options.loc,
        seed=options.seed,
        best_epoch=best["epoch"],
        accuracy=result.test_accuracy,
        test_images=result.test_images,
        seconds=round(sum(row["seconds"] for row in result.history), 1),
        parameters=sum(weight.numel() for weight in result.model.parameters()),
        state=best["transformer"]["state"] if "transformer" in best else None,
        curve=tuple(row["val_accuracy"] for row in result.history),
        plain=plain,
        disturbed=tuple(disturbed),
        theta=_theta(result.model, test) if options.loc is not Loc.NONE else None,
    )
    write_cell(folder, cell)
    return cell


def _check_same(folder: Path, wanted: Options) -> None:
    """Runs of one study have one budget, or the comparison isn't fair.

    By name, so that of a changed budget the epochs are told, and not the patience that follows from them.
    """
    found, asked = asdict(read_options(folder / LAST)), asdict(wanted)
    for name, value in sorted(asked.items()):
        if found[name] != value:
            raise UsageError(
                f"{folder} was trained with {name.replace('_', ' ')} {found[name]}, and this study says {value}",
                hint="give the same options as before, or another --out",
            )


def _check_images(folder: Path, options: Options) -> None:
    """Images that were changed since would be other runs' alone; a run that goes on is checked as any resumed one."""
    data = _data(options)
    if identity(describe(options, data), (data.train, data.val, data.test)) != read_identity(folder / LAST):
        raise UsageError(
            f"{folder} was trained on other images than {options.data} holds now",
            hint="put them back as they were, or give another --out",
        )


def _data(options: Options) -> DataSet:
    return open_data(options.data, image_hw=(options.image_size, options.image_size), seed=options.seed)


def _sweep(checkpoint: Path, test: Split, device: torch.device) -> tuple[float, list[float]]:
    """Return the accuracy, 0..1, on some test images as they are, and under each of SWEEP."""
    opened = open_checkpoint(checkpoint, device)
    plain, *others = score(
        opened.classify,
        test,
        opened.contract.labels,
        SWEEP,
        batch=_BATCH,
        advance=lambda count: None,
        chosen=spaced(len(test), SWEPT_IMAGES).tolist(),
    )
    return plain.top1_share, [scores.top1_share for scores in others]


@torch.no_grad()
def _theta(model: Classifier, test: Split) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Return theta of the shown test images, (n, 2, 3)."""
    pixels = np.stack([test[int(index)][0] for index in spaced(len(test), SHOWN)])
    _, theta = model.eval().transform(torch.from_numpy(pixels))
    assert theta is not None  # asked for models with a transformer only
    return tuple(tuple(tuple(map(float, row)) for row in matrix) for matrix in theta)
