"""Training for a study: every localizer with every seed, each in a folder of its own, and what each came to."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lstn.contract import CONTROLS, Loc, ThetaForm
from lstn.data.dataset import DataSet, Split, located, open_data
from lstn.data.splits import spaced
from lstn.errors import ArtifactError, TrainingError, UsageError
from lstn.evaluation.measured_follow import measure_follow
from lstn.evaluation.measured_pose import measure_pose
from lstn.evaluation.measuring import score
from lstn.nn.checkpoint import CHECKPOINT
from lstn.nn.checkpoint_answers import Classifying, open_checkpoint
from lstn.nn.classifier import Classifier
from lstn.research.study.study_results import (
    CELL,
    SHOWN,
    SWEEP,
    SWEPT_IMAGES,
    StudyCell,
    ThetaMatrix,
    folder_of,
    read_cell,
    runs_in,
    write_cell,
)
from lstn.train.data_and_contract import described_contract, identity
from lstn.train.loop import train_to_end
from lstn.train.runs.options import Options
from lstn.train.runs.run_state import LAST, read_identity, read_options
from lstn.train.watch.watcher import Watcher
from lstn.untrusted.checked_json import checked

_BATCH = 64

_LEFT = (LAST, CELL)
"""A folder with one of them is a run's."""


def check_models(options: Options, locs: Iterable[Loc]) -> None:
    """Make every model once, without memory: what the last run would refuse is to be known before the first.

    Raises:
        UsageError: images too small for the backbone, or for a localizer.
    """
    for loc in locs:
        with torch.device("meta"):
            Classifier(_of_run(options, loc, 0).contract(("any",)))


def finished_cells(out: Path, options: Options) -> list[StudyCell]:
    """Return what the finished runs in `out` came to, of whatever localizers and seeds, so that none gets lost.

    Those that were stopped are checked too, before any goes on.

    options: the study's; loc and seed are a run's own

    Raises:
        UsageError: a run with other options, or on other images.
        ArtifactError: what a run left is damaged.
    """
    begun = [(loc, seed) for loc, seed in runs_in(out) if any((folder_of(out, loc, seed) / f).is_file() for f in _LEFT)]
    data = {seed: _data(replace(options, seed=seed)) for _, seed in begun}
    cells = []
    for loc, seed in begun:
        folder, wanted = folder_of(out, loc, seed), _of_run(options, loc, seed)
        _check_same(folder, wanted)
        _check_images(folder, wanted, data[seed])
        if (folder / CELL).is_file():
            cells.append(read_cell(folder))
            if (cells[-1].loc, cells[-1].seed) != (loc, seed):
                raise ArtifactError(f"{folder / CELL}: of another run", hint="delete it, and it is made again")
    return cells


def train_cell(
    options: Options,
    out: Path,
    loc: Loc,
    seed: int,
    *,
    device: torch.device,
    workers: int,
    watching: Callable[[Options], AbstractContextManager[Watcher]],
) -> StudyCell:
    """Train and measure one run, from its last whole epoch on if it was stopped, and return what it came to.

    options, out: the study's, whose runs `finished_cells` has checked

    Raises:
        TrainingError: the loss is no number any more.
    """
    options, folder = _of_run(options, loc, seed), folder_of(out, loc, seed)
    resume = (folder / LAST).is_file()
    try:
        with watching(options) as watcher:
            result = train_to_end(options, folder, device=device, workers=workers, watcher=watcher, resume=resume)
    except TrainingError as error:  # one run alone can't be given other options
        raise TrainingError(
            f"{folder}: {error.message}", hint=f"{error.hint}; a study with that needs another --out"
        ) from error
    best = result.best
    test = _data(options).test
    opened = open_checkpoint(folder / CHECKPOINT, device)
    plain, disturbed = _sweep(opened, test)
    locate = opened.answering.locate
    cell = StudyCell(
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
        theta=_theta(result.classifier, test) if options.loc is not Loc.NONE else None,
        follow=measure_follow(locate, test, opened.contract, batch=_BATCH) if locate is not None else None,
        pose=measure_pose(locate, test, batch=_BATCH) if locate is not None else None,
    )
    write_cell(folder, cell)
    return cell


def _of_run(options: Options, loc: Loc, seed: int) -> Options:
    """Return a run's options: what has no localizer has no bounds, view and poses, and what samples nothing no crop."""
    recipe, own = options.recipe, replace(options, loc=loc, seed=seed)
    if loc in (Loc.NONE, Loc.IDENTITY):
        own = replace(own, recipe=replace(recipe, theta=ThetaForm.AFFINE), view=None)
    if loc in (Loc.NONE, *CONTROLS):
        own = replace(own, supervise=0.0)
    return replace(own, crop=None) if loc in (Loc.NONE, Loc.DEAD) else own


def _check_same(folder: Path, wanted: Options) -> None:
    """Runs of one study have one budget, or the comparison isn't fair.

    By name, so that of a changed budget the epochs are told, and not the patience that follows from them.
    """
    found, asked = read_options(folder / LAST).values(), wanted.values()
    for name, value in sorted(asked.items()):
        if found[name] != value and not (name == "data" and located(str(found[name])) == located(str(value))):
            raise UsageError(
                f"{folder} was trained with {name.replace('_', ' ')} {found[name]}, and this study says {value}",
                hint="give the same options as before, or another --out",
            )


def _check_images(folder: Path, options: Options, data: DataSet) -> None:
    """Images that were changed since would be other runs' alone."""
    splits = (data.train, data.val, data.test)
    same = identity(described_contract(options, data), splits, supervised=options.supervise > 0)
    if same != read_identity(folder / LAST):
        raise UsageError(
            f"{folder} was trained on other images than {options.data} holds now, or when names alone were compared",
            hint="put them back as they were, or give another --out",
        )


def _data(options: Options) -> DataSet:
    return open_data(options.data, image_hw=options.image_size, seed=options.seed)


def _sweep(opened: Classifying, test: Split) -> tuple[float, list[float]]:
    """Return the accuracy, 0..1, on some test images as they are, and under each of SWEEP."""
    plain, *others = score(
        opened.answering.classify,
        test,
        opened.contract.labels,
        SWEEP,
        batch=_BATCH,
        advance=lambda count: None,
        chosen=spaced(len(test), SWEPT_IMAGES),
    )
    return plain.top1_share, [scores.top1_share for scores in others]


@torch.no_grad()
def _theta(model: Classifier, test: Split) -> tuple[ThetaMatrix, ...]:
    """Return theta of the shown test images, (n, …)."""
    pixels = np.stack([test[index][0] for index in spaced(len(test), SHOWN)])
    _, theta = model.eval().transform(torch.from_numpy(pixels))
    assert theta is not None  # asked for models with a transformer only
    return checked(theta.tolist(), tuple[ThetaMatrix, ...])
