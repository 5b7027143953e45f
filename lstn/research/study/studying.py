"""A whole study: every localizer with every seed, and what there is so far after each run."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lstn.contract import CONTROLS, Loc
from lstn.data.dataset import open_data, require_test, set_and_root
from lstn.data.splits import spaced
from lstn.errors import UsageError
from lstn.files import remove_leftovers, write_text
from lstn.imaging.framing import outside_of
from lstn.recipe import RECIPES, Recipe, RecipeName
from lstn.report.wording import counted
from lstn.research.study.study_page import study_page
from lstn.research.study.study_results import RESULTS, SHOWN, Study, StudyCell, summary, whole_study
from lstn.research.study.study_runs import check_models, finished_cells, train_cell
from lstn.train.batches.augment import check_augment
from lstn.train.choices.choosing import check_localizer
from lstn.train.choices.recipe_changes import RecipeChanges
from lstn.train.objectives.supervision import check_supervise
from lstn.train.runs.options import Options, said
from lstn.train.watch.watcher import Watcher
from lstn.warps.warp import CropSampling

PAGE = "study.html"


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """What is compared. options: what all runs have in common; recipe: its name; seeds: runs of each localizer."""

    options: Options
    recipe: RecipeName
    locs: tuple[Loc, ...]
    seeds: int


def study_request(
    options: Options, recipe: RecipeName, locs: tuple[Loc, ...], seeds: int, changes: RecipeChanges
) -> StudyRequest:
    """Return what is to be compared, without an early stop, once it is known that every run of it can be made.

    changes: what was asked for in the place of the recipe's own choices

    Raises:
        UsageError: several processes, a set without test images, images too small for a model, or a choice about
            localizers and none of them to train.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("a study's runs are of one process each", hint="start it without torchrun")
    require_test(options.data)
    check_models(options, locs)
    check_localizer(locs, changes)
    if options.supervise:
        check_augment(options.augment, options.task, supervised=True)
        check_supervise(next((loc for loc in locs if loc not in (Loc.NONE, *CONTROLS)), Loc.NONE), options.supervise)
    whole = replace(options, recipe=replace(options.recipe, patience=options.epochs))
    return StudyRequest(whole, recipe, locs, seeds)


def run_study(
    asked: StudyRequest,
    out: Path,
    *,
    device: torch.device,
    workers: int,
    watching: Callable[[Options], AbstractContextManager[Watcher]],
    tell: Callable[[str], None],
) -> Study:
    """Train what is missing in `out`, write study.json and study.html there after every run, and return all of it.

    Raises: what `finished_cells` and `train_cell` do.
    """
    remove_leftovers(out)
    cells = finished_cells(out, asked.options)
    settings = settings_of(asked.options, asked.recipe, max([asked.seeds, *(cell.seed + 1 for cell in cells)]))
    if cells:
        tell(f"runs that are finished already: {len(cells)}")
        _write(out, whole_study(settings, asked.locs, cells), asked.options)
    for name, loc, seed in _missing(asked, cells):
        tell(name)
        cell = train_cell(asked.options, out, loc, seed, device=device, workers=workers, watching=watching)
        tell(f"{name}: test error {cell.error:.2f} %")
        cells.append(cell)
        _write(out, whole_study(settings, asked.locs, cells), asked.options)
    return whole_study(settings, asked.locs, cells)


def _missing(asked: StudyRequest, cells: list[StudyCell]) -> Iterator[tuple[str, Loc, int]]:
    """Yield the name, localizer and seed of every run to come: seed by seed, so that what has run is balanced."""
    runs = [(loc, seed) for seed in range(asked.seeds) for loc in asked.locs]
    finished = {(cell.loc, cell.seed) for cell in cells}
    for number, (loc, seed) in enumerate(runs, 1):
        if (loc, seed) not in finished:
            yield f"{number}/{len(runs)}  {loc.value}, seed {seed}", loc, seed


def settings_of(options: Options, recipe: RecipeName, seeds: int) -> dict[str, str]:
    """What all runs have in common, as it is to be read."""
    fitted = options.recipe
    published = set_and_root(options.data)
    return {
        "data": published[0] if published else options.data,
        "model": options.model,
        "image size": _sizes(options),
        "budget": f"{counted(options.epochs, 'epoch')} of every run, {counted(fitted.batch_size, 'image')} per step, "
        "no early stop; the epoch with the highest validation accuracy is tested",
        "recipe": f"{_recipe(fitted, recipe)}: learning rate {fitted.lr:g}, {fitted.loc_lr_scale:g} of it for the "
        "localizer" + _schedule(fitted),
        "augmentation": options.augment,
        "precision": options.precision,
        **(
            {"true poses": f"the loss draws theta to them, with weight {options.supervise:g}"}
            if options.supervise
            else {}
        ),
        "seeds": f"0 to {seeds - 1}; for one seed, backbones start alike and see the same images in the same order",
    }


def _sizes(options: Options) -> str:
    """Say how large images are, and what localizers and backbones get of them where that was chosen."""
    words = [f"{said(options.image_size)} pixels"]
    words += [] if options.view is None else [f"localizers see them at {said(options.view)}"]
    words += [] if options.crop is None else [f"transformers make crops of {said(options.crop)}"]
    return ", ".join(words)


def _schedule(recipe: Recipe) -> str:
    """Say how the learning rates change over the epochs, if they do."""
    rise = f", warm-up over {recipe.warmup_epochs:g} of the epochs" if recipe.warmup_epochs else ""
    return rise + (", cosine" if recipe.cosine else "")


def _recipe(fitted: Recipe, name: RecipeName) -> str:
    """Name the recipe, and what was given in the place of what it says."""
    usual = RECIPES[name]
    numbers = {
        "--lr": (fitted.lr, usual.lr),
        "--loc-lr-scale": (fitted.loc_lr_scale, usual.loc_lr_scale),
        "--in-frame": (fitted.in_frame, usual.in_frame),
        "--equivariance": (fitted.equivariance, usual.equivariance),
        "--weight-decay": (fitted.weight_decay, usual.weight_decay),
        "--label-smoothing": (fitted.label_smoothing, usual.label_smoothing),
        "--accumulate": (fitted.accumulate, usual.accumulate),
    }
    names = {
        "--optimizer": (fitted.optimizer, usual.optimizer),
        "--balance": (fitted.balance, usual.balance),
        "--theta": (fitted.theta.value, usual.theta.value),
    }
    words = [f"{option} {value:g}" for option, (value, own) in numbers.items() if value != own]
    words += [f"{option} {name}" for option, (name, own) in names.items() if name != own]
    return f"{name} with {', '.join(words)}" if words else name


def _write(out: Path, study: Study, options: Options) -> None:
    """Write what there is so far: a study takes days, and is looked at before its end."""
    data = open_data(options.data, image_hw=options.image_size, seed=options.seed)
    images = [data.test[index][0] for index in spaced(len(data.test), SHOWN)]
    write_text(out / RESULTS, json.dumps(summary(study), ensure_ascii=False, indent=1) + "\n")
    write_text(out / PAGE, study_page(study, images, CropSampling(outside_of(data.mean), options.crop)))
