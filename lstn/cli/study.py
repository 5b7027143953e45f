"""`lstn study`."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstn.cli.train import InFrame, LocRate, Rate, ThetaOption, chosen_options, stopping
from lstn.cli.train_report import watching
from lstn.contract import CONTROLS, Loc
from lstn.errors import LstnError, UsageError
from lstn.files import remove_leftovers, write_text
from lstn.formats.outputs import PAGE as WEB_PAGE
from lstn.formats.outputs import STUDY, OutputFile, check_folder, check_outputs
from lstn.machine.cores import usable_cores, within_cores
from lstn.machine.lock import locked
from lstn.recipe import DEFAULT_RECIPE, by_recipe
from lstn.terminal import note
from lstn.waiting import say_loading

if TYPE_CHECKING:
    import torch

    from lstn.research.study.study_results import Study, StudyCell
    from lstn.train.options import Options
    from lstn.train.recipes import Recipe, RecipeName

_PIPE_WIDTH = 140
RESULTS, PAGE = "study.json", "study.html"


def study(
    context: typer.Context,
    data: Annotated[str, typer.Option(help="As in lstn train.")] = "digits",
    data_root: Annotated[
        Path | None, typer.Option(help="Where downloaded sets are kept.", show_default="the user's cache folder")
    ] = None,
    model: Annotated[str, typer.Option(help="Backbone behind every localizer.")] = "cnn",
    locs: Annotated[str, typer.Option(metavar="A,B,…", help="Localizers to compare.")] = "none,stn,vstn,lstn",
    controls: Annotated[
        bool, typer.Option(help="Also train with a fixed identity, and with a transformer whose output is dropped.")
    ] = True,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs of each, with seeds from 0 on.")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Of every run; none stops early.", show_default="25; 5 of the embedded digits"),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=4096, help="Side of the input in pixels.", show_default="the set's or the backbone's"),
    ] = None,
    recipe: Annotated[Literal["paper", "robust"], typer.Option(help="How weights are fitted.")] = DEFAULT_RECIPE,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images per step.",
            show_default=by_recipe("batch_size"),
        ),
    ] = None,
    lr: Rate = None,
    loc_lr_scale: LocRate = None,
    theta: ThetaOption = None,
    in_frame: InFrame = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="Arithmetic of the backbone in training.")
    ] = "fp32",
    augment: Annotated[
        Literal["none", "affine", "standard"], typer.Option(help="Change training images, as in lstn train.")
    ] = "none",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            callback=within_cores, min=0, help="Processes that decode images.", show_default="one per core, up to 8"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where runs and results go.")] = Path("study"),
) -> None:
    """Compare localizers fairly.

    All localizers get the same backbone, budget and seeds. FOLDER gets a run for each localizer and seed, study.json,
    and study.html: errors with intervals, paired differences, accuracy against rotation, scale and shift of the test
    images, and the warps side by side. Finished runs are not trained again: after a stop, the same command continues,
    and with more --seeds or --locs it adds to what there is.
    """
    say_loading(f"comparing {locs} on {data}")
    from lstn.data.dataset import require_test
    from lstn.nn.device import choose_device
    from lstn.research.study.study_results import whole_study
    from lstn.research.study.study_runs import check_models, finished_cells

    chosen = _locs(locs, controls=controls)
    options = chosen_options(context, {"loc": Loc.NONE, "weights": "", "seed": 0})
    options = replace(options, patience=options.epochs)
    workers = min(usable_cores(), 8) if workers is None else workers
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("a study's runs are of one process each", hint="start it without torchrun")
    require_test(options.data)
    where = choose_device(device)
    check_models(options, chosen)
    _check_out(out, options.data)
    _make(out)
    with stopping(out, "the same command"), locked(out):
        remove_leftovers(out)
        cells = finished_cells(out, options)
        settings = _settings(options, recipe, max([seeds, *(cell.seed + 1 for cell in cells)]))
        runs = [(loc, seed) for seed in range(seeds) for loc in chosen]  # so whatever has run so far is balanced
        finished = {(cell.loc, cell.seed) for cell in cells}
        if cells:
            note(f"runs that are finished already: {len(cells)}")
            _write(out, whole_study(settings, chosen, cells), options)
        for number, (loc, seed) in enumerate(runs, 1):
            if (loc, seed) not in finished:
                cells.append(_cell(out, options, loc, seed, where, workers, f"{number}/{len(runs)}"))
                _write(out, whole_study(settings, chosen, cells), options)
    _show(whole_study(settings, chosen, cells))
    typer.echo(f"{out / PAGE}: the whole report; every figure: {out / RESULTS}")


def _locs(text: str, *, controls: bool) -> tuple[Loc, ...]:
    words = [word.strip() for word in text.split(",")]
    names = [loc.value for loc in Loc]
    for word in words:
        if word not in names:
            raise UsageError(f"--locs: no localizer is called {word!r:.40}", hint=f"choose from: {', '.join(names)}")
    if len(set(words)) < len(words):
        raise UsageError(f"--locs {text}: one is named twice", hint="name each once")
    return tuple(dict.fromkeys([*map(Loc, words), *(CONTROLS if controls else ())]))


def _check_out(out: Path, data: str) -> None:
    kind, _, folder = data.partition(":")
    check_folder("--out", out, [Path(folder)] if kind == "folder" else [])
    check_outputs((OutputFile(out / RESULTS, STUDY), OutputFile(out / PAGE, WEB_PAGE)))


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LstnError(f"cannot make {out}: {error.strerror}", hint="choose another --out") from error


def _cell(
    out: Path, options: "Options", loc: Loc, seed: int, device: "torch.device", workers: int, number: str
) -> "StudyCell":
    from lstn.research.study.study_runs import train_cell

    name = f"{number}  {loc.value}, seed {seed}"
    note(name)
    cell = train_cell(
        options, out, loc, seed, device=device, workers=workers, watching=lambda each: watching(each, None)
    )
    note(f"{name}: test error {cell.error:.2f} %")
    return cell


def _settings(options: "Options", recipe: "RecipeName", seeds: int) -> dict[str, str]:
    """What all runs have in common, as it is to be read."""
    from lstn.data.dataset import set_and_root

    published = set_and_root(options.data)
    return {
        "data": published[0] if published else options.data,
        "model": options.model,
        "image size": f"{options.image_size} pixels",
        "budget": f"{options.epochs} epochs of every run, {options.batch_size} images per step, no early stop; the "
        "epoch with the highest validation accuracy is tested",
        "recipe": f"{_recipe(options, recipe)}: learning rate {options.lr:g}, {options.loc_lr_scale:g} of it for the "
        "localizer" + _schedule(options),
        "augmentation": options.augment,
        "precision": options.precision,
        "seeds": f"0 to {seeds - 1}; for one seed, backbones start alike and see the same images in the same order",
    }


def _schedule(recipe: "Recipe") -> str:
    """Say how the learning rates change over the epochs, if they do."""
    rise = f", warm-up over {recipe.warmup_epochs:g} of the epochs" if recipe.warmup_epochs else ""
    return rise + (", cosine" if recipe.cosine else "")


def _recipe(options: "Options", recipe: "RecipeName") -> str:
    """Name the recipe, and what was given in the place of what it says."""
    from lstn.train.recipes import RECIPES

    given = {"--lr": options.lr, "--loc-lr-scale": options.loc_lr_scale, "--in-frame": options.in_frame}
    usual = RECIPES[recipe]
    own = {"--lr": usual.lr, "--loc-lr-scale": usual.loc_lr_scale, "--in-frame": usual.in_frame}
    words = [f"{name} {value:g}" for name, value in given.items() if value != own[name]]
    words += [f"--theta {options.theta.value}"] if options.theta is not usual.theta else []
    return f"{recipe} with {', '.join(words)}" if words else recipe


def _write(out: Path, study: "Study", options: "Options") -> None:
    """Write what there is so far: a study takes days, and is looked at before its end."""
    from lstn.data.dataset import open_data
    from lstn.data.splits import spaced
    from lstn.research.study.study_page import page
    from lstn.research.study.study_results import SHOWN, summary
    from lstn.warp import outside_of

    data = open_data(options.data, image_hw=(options.image_size, options.image_size), seed=options.seed)
    images = [data.test[index][0] for index in spaced(len(data.test), SHOWN)]
    write_text(out / RESULTS, json.dumps(summary(study), ensure_ascii=False, indent=1) + "\n")
    write_text(out / PAGE, page(study, images, outside_of(data.mean)))


def _show(study: "Study") -> None:
    from rich.console import Console

    from lstn.report.table import print_table
    from lstn.research.study.study_tables import error_table, follow_table, pair_table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    print_table(console, error_table(study))
    print_table(console, pair_table(study))
    if (follow := follow_table(study)).rows:
        print_table(console, follow)
