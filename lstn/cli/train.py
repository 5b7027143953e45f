"""`lstn train`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstn.cli.display.screen import phases
from lstn.cli.display.train_report import report, watching
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.model_choice import factory_of, name_of
from lstn.cli.parsing.recipe_options import (
    Accumulate,
    AugmentOption,
    Balanced,
    Crop,
    Equivariance,
    Freeze,
    Hours,
    ImageSize,
    InFrame,
    LabelSmoothing,
    LocRate,
    Optimizer,
    Rate,
    TeacherOption,
    ThetaOption,
    View,
    WeightDecay,
    sizes_of,
)
from lstn.cli.steps.ctrl_c import stopping
from lstn.contract import MAX_ITERATIONS, REGIONS, At, Fit, Loc, Task
from lstn.data.set_names import named, well_named
from lstn.errors import UsageError
from lstn.files import check_utf8
from lstn.health.run_files import RUNS, check_free, run_to_resume
from lstn.machine.cores import decoders, within_cores
from lstn.recipe import DEFAULT_RECIPE, MAX_BATCH, MAX_EPOCHS, RecipeName, by_recipe, usual_model
from lstn.terminal import messages
from lstn.waiting import say_loading

if TYPE_CHECKING:
    import torch

    from lstn.train.computing.distributed import World
    from lstn.train.runs.options import Options
    from lstn.train.watch.trackers import TrackerName

MAX_SEED = 2**63 - 1
"""torch and NumPy both take it."""

_MOST_NAME_BYTES = 200
"""Of a file's name 255 are usual, and temporary names are longer than their file's."""


def _one_folder(name: str) -> str:
    """Return the name of a run, if it can name one folder.

    Raises:
        UsageError: it can't.
    """
    cure = "a run is one folder under runs/; give its name alone"
    if name in (".", "..") or (name and Path(name).name != name):
        raise UsageError(f"{name!r} can't name a run", hint=cure)
    check_utf8(Path(name), "checkpoints")
    if (size := len(os.fsencode(name))) > _MOST_NAME_BYTES:
        raise UsageError(
            f"{name[:40]!r}… can't name a run: it has {size} bytes", hint=f"give a name of {_MOST_NAME_BYTES} at most"
        )
    return name


def train(
    context: typer.Context,
    loc: Annotated[
        Loc, typer.Option(help="Localizer in front of the backbone; identity and dead are controls.")
    ] = Loc.LSTN,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="effnet-b0; generate: dcgan",
            help="Backbone, such as effnet-b0, resnet-18 or cnn; any classifier of torchvision's by its own name; any "
            "of timm's as timm:NAME; or your own as MODULE:FACTORY, a callable classes -> torch.nn.Module.",
        ),
    ] = None,
    task: Annotated[
        Task,
        typer.Option(help="What it answers: an image's class, objects, text or sentences; or it paints images."),
    ] = Task.CLASSIFY,
    data: Annotated[
        str,
        typer.Option(
            callback=well_named,
            metavar="DATA",
            help="digits (embedded); cifar10, caltech101, gtsrb, svhn, mnist or a distorted mnist-r, -rts, -p, -e or "
            "-cluttered (downloaded); scenes-digits (embedded), scenes-signs (downloaded) or "
            "scenes:OBJECTS,BACKGROUNDS; to read, numbers-digits or captions-digits (embedded), or "
            "captions:FILE[,FOLDER] of COCO's captions; or folder:PATH with "
            "PATH/{train,val,test}/<class>/*, for detectors annotated, for readers with labels.csv.",
        ),
    ] = "digits",
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where downloaded sets are kept.", show_default="the user's cache folder"),
    ] = None,
    augment: AugmentOption = "none",
    weights: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE|RUN", help="Start the backbone from imagenet, a FILE of weights, or what a RUN learned."
        ),
    ] = "",
    image_size: ImageSize = None,
    fit: Annotated[
        Fit,
        typer.Option(help="How a photo of another shape becomes an image: stretched, padded with the mean, or cut."),
    ] = Fit.STRETCH,
    recipe: Annotated[
        RecipeName,
        typer.Option(help="How weights are fitted; the options down to --equivariance override it."),
    ] = DEFAULT_RECIPE,
    patience: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Stop after this many epochs without a better validation accuracy.",
            show_default=by_recipe("patience"),
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_BATCH,
            help="Images of a batch, over all processes.",
            show_default=by_recipe("batch_size"),
        ),
    ] = None,
    accumulate: Accumulate = None,
    optimizer: Optimizer = None,
    weight_decay: WeightDecay = None,
    label_smoothing: LabelSmoothing = None,
    balance: Balanced = None,
    freeze: Freeze = None,
    lr: Rate = None,
    loc_lr_scale: LocRate = None,
    theta: ThetaOption = None,
    iterations: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MAX_ITERATIONS, help="How often the localizer looks, at what it chose so far."
        ),
    ] = 1,
    warps: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            max=REGIONS[1],
            help="Places of an image that the localizer chooses, each with its crop.",
            show_default="1; detect: 16; read: the longest text's; align: 5",
        ),
    ] = None,
    at: Annotated[
        At,
        typer.Option(
            help="What is warped: the image, the map behind the backbone's first layers, or a detector's map."
        ),
    ] = At.INPUT,
    view: View = None,
    crop: Crop = None,
    in_frame: InFrame = None,
    equivariance: Equivariance = None,
    supervise: Annotated[
        float | None,
        typer.Option(
            metavar="WEIGHT",
            min=0,
            help="Weight of the distance between theta and the true pose, where a set knows it.",
            show_default="0; with --task read or align 1",
        ),
    ] = None,
    teacher: TeacherOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_EPOCHS,
            help="Train at most this many epochs.",
            show_default="25; embedded digits: 5, scenes 10",
        ),
    ] = None,
    hours: Hours = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="Arithmetic of the backbone; the transformer stays in fp32.")
    ] = "fp32",
    device: DeviceName = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            callback=within_cores,
            min=0,
            help="Processes that decode images too many for memory.",
            show_default="one per core, up to 8",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=MAX_SEED, help="Seed of weights, order and drawn data.")
    ] = 0,
    name: Annotated[
        str,
        typer.Option(
            callback=_one_folder,
            metavar="NAME",
            help="Folder of the run, under runs/.",
            show_default="LOC-MODEL-TIME",
        ),
    ] = "",
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder, from its last whole epoch.")
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Train no model, but say which --lr the other options go with.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the backbone first: minutes, which long runs on a GPU win back.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves and warps for TensorBoard, in the run's folder.")
    ] = False,
    wandb: Annotated[
        bool,
        typer.Option("--wandb", help="Log curves and warps to Weights & Biases; WANDB_MODE=offline keeps them here."),
    ] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log curves and warps to the MLflow server of MLFLOW_TRACKING_URI.")
    ] = False,
) -> None:
    """Train a model to see, read or paint images.

    The folder of the run, runs/NAME, holds checkpoint.safetensors (the best epoch), metrics.jsonl, test.json, pictures
    of curves, confusions and warps, and last.safetensors, from which --resume continues after Ctrl-C or a crash.
    lstn doctor RUN says whether its transformer is alive. Processes started by torchrun share every batch.
    docs/how-to/training.md explains all of this.
    """
    begun = _begun(name, resume, f"training {loc.value} + {model or usual_model(task)} on {data}")
    from lstn.train.choices.asked_run import ChosenNetwork, Course, Guidance
    from lstn.train.choices.choosing import check_localizer, choose_options
    from lstn.train.choices.recipe_changes import RecipeChanges, TrainingChanges, TransformerChanges

    how = TransformerChanges(loc_lr_scale=loc_lr_scale, theta=theta, in_frame=in_frame, equivariance=equivariance)
    training = TrainingChanges(optimizer, weight_decay, label_smoothing, balance, accumulate, freeze, hours)
    hw, guide = sizes_of(image_size, view, crop, fit), Guidance(supervise, teacher)
    backbone = name_of(model, task)
    network = ChosenNetwork(
        task=task, loc=loc, model=backbone, weights=weights, warps=warps, iterations=iterations, at=at, sizes=hw
    )
    changes = RecipeChanges(batch_size=batch_size, patience=patience, lr=lr, training=training, transformer=how)
    with _joined(device) as (world, where):
        with world.together():
            check_localizer([loc], changes)
            course = Course(
                data=named(data, data_root), augment=augment, epochs=epochs, precision=precision, seed=seed, guide=guide
            )
            chosen = choose_options(recipe, changes, network, course)
            options, folder = _placed(chosen, name, begun, _typed(context))
        if find_lr:
            _find_rate(options, world, where, workers, model, resumes=bool(begun))
            return
        trackers = _wanted({"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow})
        _fit(options, folder, world, where, workers, model, trackers, resume=bool(begun), compiled=compiled)


def _wanted(trackers: "dict[TrackerName, bool]") -> "list[TrackerName]":
    return [name for name, asked in trackers.items() if asked]


def _typed(context: typer.Context) -> frozenset[str]:
    """Return the names of the options that somebody gave, whatever their values."""
    names = [each.name for each in context.command.params if each.name is not None]
    sources = {name: context.get_parameter_source(name) for name in names}
    return frozenset(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def _begun(name: str, resume: Path | None, training: str) -> Path | None:
    """Say what begins, and return the folder of the run that is to go on, if one is; a new one's name has to be free.

    Raises:
        UsageError: no run to go on with, or one of that name.
    """
    begun = None if resume is None else run_to_resume(resume)
    if begun is None and name:
        check_free(RUNS / name)
    say_loading(f"resuming {begun}" if begun else training)
    return begun


def _placed(options: "Options", name: str, begun: Path | None, given: frozenset[str]) -> tuple["Options", Path]:
    """Return the options and the folder of a new run, or of the one that goes on."""
    if begun is None:
        return options, RUNS / (name or _usual_name(options))
    from lstn.train.choices.resuming import resumed

    return resumed(begun, options, given), begun


def _fit(
    options: "Options",
    folder: Path,
    world: "World",
    device: "torch.device",
    workers: int | None,
    model: str | None,
    trackers: "Sequence[TrackerName]",
    *,
    resume: bool,
    compiled: bool,
) -> None:
    from lstn.train.choices.choosing import chosen_by_the_set
    from lstn.train.loop import fit
    from lstn.train.watch.board import Board

    folder = Path(world.first(str(folder)))
    with world.together():
        own = factory_of(model)
        board = Board(trackers, folder, options.values()) if trackers and world.rank == 0 else None
    with (
        stopping(folder, f"lstn train --resume {folder}"),
        watching(options, board, chosen_by_the_set(options)) as watcher,
    ):
        result = fit(
            options,
            folder,
            device=device,
            workers=decoders(workers),
            watcher=watcher,
            resume=resume,
            world=world,
            compiled=compiled,
            own=own,
        )
    if world.rank == 0:
        report(result, options)


def _find_rate(
    options: "Options", world: "World", device: "torch.device", workers: int | None, model: str | None, *, resumes: bool
) -> None:
    from lstn.train.rate_finding import LOWEST, STEPS, find_rate

    if resumes or world.size > 1:
        raise UsageError("--find-lr tries rates on a model that begins, in one process", hint="leave out --resume")
    with phases(f"trying learning rates from {LOWEST:g} up, one a step") as hear:
        found = find_rate(
            options,
            device=device,
            workers=decoders(workers),
            own=factory_of(model),
            step=lambda taken: hear(taken / STEPS, f"step {taken}"),
        )
    typer.echo(
        f"--lr {found.rate:g}: a tenth of {found.at:.2g}, where the loss was lowest, {found.lowest:.3g} "
        f"after {found.first:.3g} at the start; without --lr it is {options.recipe.lr:g}"
    )


def _usual_name(options: "Options") -> str:
    """Return the name of a run: its localizer, its backbone with no sign that file names may not have, and the time."""
    return f"{options.loc.value}-{options.model.replace(':', '-')}-{datetime.now():%Y%m%d-%H%M%S}"


@contextmanager
def _joined(device_name: str) -> Iterator[tuple["World", "torch.device"]]:
    """Join the processes of this run, of which the first speaks; any may say why it failed."""
    from lstn.train.computing.distributed import joined

    with joined(device_name) as (world, device):
        messages().quiet = world.rank > 0
        try:
            yield world, device
        finally:
            messages().quiet = False
