"""`lstn study`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.screen import results
from lstn.cli.display.train_progress import watching
from lstn.cli.parsing.course_options import AugmentOption, BackbonePrecision, DataRoot, DecodingWorkers
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.recipe_options import (
    Accumulate,
    Balanced,
    BatchSize,
    Equivariance,
    InFrame,
    LabelSmoothing,
    LocRate,
    Optimizer,
    Rate,
    Supervise,
    ThetaOption,
    WeightDecay,
)
from lstn.cli.parsing.size_options import Crop, ImageSize, View, sizes_of
from lstn.cli.steps.ctrl_c import stopping
from lstn.contract import CONTROLS, Loc
from lstn.data.set_names import named, well_named
from lstn.errors import LstnError, UsageError
from lstn.formats.outputs import PAGE as WEB_PAGE
from lstn.formats.outputs import STUDY, OutputFile, check_folder, check_outputs
from lstn.machine.cores import decoders
from lstn.machine.lock import locked
from lstn.recipe import DEFAULT_RECIPE, MAX_EPOCHS, RecipeName
from lstn.terminal import note
from lstn.waiting import say_loading

if TYPE_CHECKING:
    from lstn.research.study.study_results import Study


def _well_named_locs(text: str) -> str:
    _locs(text, controls=False)
    return text


def study(
    data: Annotated[str, typer.Option(callback=well_named, metavar="DATA", help="As in lstn train.")] = "digits",
    data_root: DataRoot = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="Backbone behind every localizer.")] = "cnn",
    locs: Annotated[
        str, typer.Option(callback=_well_named_locs, metavar="A,B,…", help="Localizers to compare.")
    ] = "none,stn,vstn,lstn",
    controls: Annotated[
        bool, typer.Option(help="Also train with a fixed identity, and with a transformer whose output is dropped.")
    ] = True,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Runs of each, with seeds from 0 on.")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_EPOCHS,
            help="Of every run; none stops early.",
            show_default="25; 5 of the embedded digits",
        ),
    ] = None,
    image_size: ImageSize = None,
    view: View = None,
    crop: Crop = None,
    recipe: Annotated[RecipeName, typer.Option(help="How weights are fitted.")] = DEFAULT_RECIPE,
    batch_size: BatchSize = None,
    accumulate: Accumulate = None,
    optimizer: Optimizer = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    balance: Balanced = None,
    lr: Rate = None,
    loc_lr_scale: LocRate = None,
    theta: ThetaOption = None,
    in_frame: InFrame = None,
    equivariance: Equivariance = None,
    supervise: Supervise = 0.0,
    precision: BackbonePrecision = "fp32",
    augment: AugmentOption = "none",
    device: DeviceName = "auto",
    workers: DecodingWorkers = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where runs and results go.")] = Path("study"),
) -> None:
    """Compare localizers fairly.

    All localizers get the same backbone, budget and seeds. DIR gets a run for each localizer and seed, study.json, and
    study.html: errors with intervals, paired differences, accuracy against rotation, scale and shift of the test
    images, and the warps side by side. Finished runs are not trained again: after a stop, the same command continues,
    and with more --seeds or --locs it adds to what there is.
    """
    say_loading(f"comparing {locs} on {data}")
    from lstn.nn.device import choose_device
    from lstn.research.study.study_results import RESULTS
    from lstn.research.study.studying import PAGE, run_study, study_request
    from lstn.train.choices.asked_run import ChosenNetwork, Course
    from lstn.train.choices.choosing import choose_options
    from lstn.train.choices.recipe_changes import RecipeChanges, TrainingChanges, TransformerChanges

    chosen = _locs(locs, controls=controls)
    how = TransformerChanges(loc_lr_scale=loc_lr_scale, theta=theta, in_frame=in_frame, equivariance=equivariance)
    training = TrainingChanges(optimizer, weight_decay, label_smoothing, balance, accumulate)
    changes = RecipeChanges(batch_size=batch_size, lr=lr, training=training, transformer=how)
    options = choose_options(
        recipe,
        changes,
        ChosenNetwork(loc=Loc.NONE, model=model, sizes=sizes_of(image_size, view, crop)),
        Course(data=named(data, data_root), augment=augment, epochs=epochs, precision=precision),
    )
    asked = study_request(replace(options, supervise=supervise), recipe, chosen, seeds, changes)
    where, count = choose_device(device), decoders(workers)
    _make(out, options.data)
    with stopping(out, "the same command"), locked(out):
        made = run_study(asked, out, device=where, workers=count, watching=watching, tell=note)
    _show(made)
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


def _make(out: Path, data: str) -> None:
    """Make the folder of the study, if its results may be written there."""
    from lstn.research.study.study_results import RESULTS
    from lstn.research.study.studying import PAGE

    kind, _, folder = data.partition(":")
    check_folder("--out", out, [Path(folder)] if kind == "folder" else [])
    check_outputs((OutputFile(out / RESULTS, STUDY), OutputFile(out / PAGE, WEB_PAGE)))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LstnError(f"cannot make {out}: {error.strerror}", hint="choose another --out") from error


def _show(study: "Study") -> None:
    from lstn.report.table import print_table
    from lstn.research.study.study_tables import error_table, pair_table, study_follow_table, study_pose_table

    console = results()
    print_table(console, error_table(study))
    print_table(console, pair_table(study))
    for table in (study_follow_table(study), study_pose_table(study)):
        if table.rows:
            print_table(console, table)
