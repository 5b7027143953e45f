"""`lstn train`."""

import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstn.cli.train_report import report, watching
from lstn.contract import CONTROLS, MAX_ITERATIONS, At, Loc, ThetaForm
from lstn.errors import UsageError
from lstn.health.run_files import RUNS, run_folder
from lstn.health.run_health import finished_epochs
from lstn.machine.cores import usable_cores, within_cores
from lstn.recipe import DEFAULT_RECIPE, by_recipe
from lstn.terminal import messages, note
from lstn.waiting import say_loading

if TYPE_CHECKING:
    import torch

    from lstn.train.distributed import World
    from lstn.train.options import Options

MAX_SEED = 2**63 - 1
"""torch and NumPy both take it."""

_MAY_CHANGE = frozenset(
    {"resume", "data", "epochs", "patience", "workers", "device", "tensorboard", "compile_backbone"}
)
"""Options that a resumed run may be given: the rest would make it another run. Of data the contents are compared."""


Rate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Adam's learning rate.",
        show_default=f"{by_recipe('lr')}; robust: less for VGG, AlexNet and ZFNet, more for cnn",
    ),
]
LocRate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="The localizer's learning rate, as a share of --lr.",
        show_default=by_recipe("loc_lr_scale"),
    ),
]
ThetaOption = Annotated[
    ThetaForm | None,
    typer.Option(
        help="What the transformer can do; all but affine are bounded.",
        show_default=by_recipe("theta"),
    ),
]
InFrame = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Weight of the penalty for corners outside of the frame.",
        show_default=by_recipe("in_frame"),
    ),
]


def train(
    context: typer.Context,
    loc: Annotated[
        Loc, typer.Option(help="Localizer in front of the backbone; identity and dead are controls.")
    ] = Loc.LSTN,
    model: Annotated[
        str, typer.Option(help="Backbone, such as effnet-b0, resnet-18, densenet-121 or cnn.")
    ] = "effnet-b0",
    data: Annotated[
        str,
        typer.Option(
            help="digits (embedded); cifar10, caltech101, gtsrb, svhn, mnist or a distorted mnist-r, -rts, -p, -e or "
            "-cluttered (downloaded); or folder:PATH with PATH/{train,val,test}/<class>/*."
        ),
    ] = "digits",
    data_root: Annotated[
        Path | None,
        typer.Option(help="Where downloaded sets are kept.", show_default="the user's cache folder"),
    ] = None,
    augment: Annotated[
        Literal["none", "affine", "standard"],
        typer.Option(help="Change training images: turn, shift and scale a little; or crop, and mirror where fit."),
    ] = "none",
    weights: Annotated[str, typer.Option(help="Start the backbone from imagenet, or from a FILE of weights.")] = "",
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=4096, help="Side of the input in pixels.", show_default="the set's or the backbone's"),
    ] = None,
    recipe: Annotated[
        Literal["paper", "robust"],
        typer.Option(help="How weights are fitted; the options down to --in-frame override it."),
    ] = DEFAULT_RECIPE,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after this many epochs without a better validation accuracy.",
            show_default=by_recipe("patience"),
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images per step, over all processes.",
            show_default=by_recipe("batch_size"),
        ),
    ] = None,
    lr: Rate = None,
    loc_lr_scale: LocRate = None,
    theta: ThetaOption = None,
    iterations: Annotated[
        int, typer.Option(min=1, max=MAX_ITERATIONS, help="How often the localizer looks, at what it chose so far.")
    ] = 1,
    at: Annotated[
        At, typer.Option(help="What is warped: the image, or the feature map behind the backbone's first layers.")
    ] = At.INPUT,
    in_frame: InFrame = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Train at most this many epochs.", show_default="25; 5 of the embedded digits"),
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="Arithmetic of the backbone; the transformer stays in fp32.")
    ] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            callback=within_cores,
            min=0,
            help="Processes that decode images too many for memory.",
            show_default="one per core, up to 8",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of weights, order and drawn data.")] = 0,
    name: Annotated[str, typer.Option(help="Folder of the run, under runs/.", show_default="LOC-MODEL-TIME")] = "",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, from its last whole epoch.")
    ] = None,
    compile_backbone: Annotated[
        bool, typer.Option("--compile", help="Compile the backbone first: minutes, which long runs on a GPU win back.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves and warps for TensorBoard, in the run's folder.")
    ] = False,
) -> None:
    """Train a classifier with a transformer.

    The folder of the run, runs/NAME, holds checkpoint.safetensors (the best epoch), metrics.jsonl, test.json, pictures
    of curves, confusions and warps, and last.safetensors, from which --resume continues after Ctrl-C or a crash.
    lstn doctor RUN says whether its transformer is alive. Processes started by torchrun share every batch.
    docs/how-to/training.md explains all of this.
    """
    say_loading(f"resuming {resume}" if resume else f"training {loc.value} + {model} on {data}")
    from lstn.train.loop import fit
    from lstn.train.watch.board import Board

    with _joined(device) as (world, chosen):
        with world.together():
            _check_localizer(context, loc)
            options = chosen_options(context, {})
            if resume:
                resume = run_folder(resume)
                options = _resumed(context, resume, options)
            folder = resume or _named_folder(name or f"{loc.value}-{model}-{datetime.now():%Y%m%d-%H%M%S}")
        folder = Path(world.first(str(folder)))
        with (
            stopping(folder, f"lstn train --resume {folder}"),
            watching(options, Board(folder) if tensorboard else None, _of_set(context, options)) as watcher,
        ):
            result = fit(
                options,
                folder,
                device=chosen,
                workers=min(usable_cores(), 8) if workers is None else workers,
                watcher=watcher,
                resume=resume is not None,
                world=world,
                compiled=compile_backbone,
            )
        if world.rank == 0:
            report(result, options)


def chosen_options(context: typer.Context, fixed: Mapping[str, object]) -> "Options":
    """Return what the command line asks for: the recipe, and every option that was given or has a default of its own.

    fixed: what the command has no option for
    """
    from lstn.data.dataset import rooted, usual
    from lstn.train.options import Options
    from lstn.train.recipes import recipe_for

    given = {each.name: value for each in fields(Options) if (value := context.params.get(each.name)) is not None}
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} {value} is not a number to train with", hint="give a finite number")
    from lstn.data.dataset import located

    root = context.params["data_root"]
    given["data"] = located(given["data"]) if root is None else rooted(given["data"], root)
    of_set = usual(given["data"])
    defaults = {"image_size": usual_size(given["model"], of_set.image_size), "epochs": of_set.epochs}
    return Options(**asdict(recipe_for(context.params["recipe"], given["model"])) | defaults | given | dict(fixed))


def _check_localizer(context: typer.Context, loc: Loc) -> None:
    """Of theta the contract knows, and `fit` says; these two stand in every recipe, and only here they were asked for.

    Raises:
        UsageError: they are to fit a localizer where none is fitted.
    """
    for name in ("loc_lr_scale", "in_frame"):
        if context.params[name] is not None and loc in (Loc.NONE, *CONTROLS):
            raise UsageError(
                f"a run of loc {loc.value} trains no localizer", hint=f"leave out --{name.replace('_', '-')}"
            )


def usual_size(model: str, of_set: int | None) -> int:
    """Return the side of images in pixels: the set's, if it has one and the backbone takes it; or the backbone's.

    Larger images than a set has hold no more of it, and cost time with their area.
    """
    from lstn.nn.backbones import backbone_named

    backbone = backbone_named(model)
    return backbone.image_size if of_set is None else max(of_set, backbone.smallest)


def _of_set(context: typer.Context, options: "Options") -> str:
    """Return what to say of choices that the set made, so that nobody takes them for the backbone's; empty if none."""
    from lstn.data.dataset import usual
    from lstn.nn.backbones import backbone_named

    asked = [name for name in ("image_size", "epochs") if context.params[name] is not None]
    if asked or usual(options.data).image_size is None:
        return ""
    side, made_for = options.image_size, backbone_named(options.model).image_size
    name = options.data.partition(":")[0]
    return (
        f"{name}: images of {side} x {side} pixels ({options.model} was made for {made_for}), {options.epochs} epochs; "
        "--image-size and --epochs change that"
    )


def _named_folder(name: str) -> Path:
    if name in (".", "..") or Path(name).name != name:
        raise UsageError(f"{name!r} can't name a run", hint="a run is one folder under runs/; give its name alone")
    return RUNS / name


def _resumed(context: typer.Context, folder: Path, given: "Options") -> "Options":
    """The run's own options, with what the command line may change about them."""
    from lstn.train.run_state import LAST, read_options

    if not (folder / LAST).is_file():
        raise UsageError(f"{folder}: no {LAST} here, so this is not a run", hint="start one with: lstn train")
    stored = read_options(folder / LAST)
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    for name in sorted(typed - _MAY_CHANGE - {"data_root"}):  # a data root is part of the data's name
        if name in ("name", "recipe") or getattr(given, name) != getattr(stored, name):
            option = "--" + name.replace("_", "-")
            has = f"; {folder} has {value}" if (value := getattr(stored, name, None)) is not None else ""
            raise UsageError(
                f"{option} can't change in a run that is resumed{has}",
                hint=f"leave {option} out, or start a new run",
            )
    return replace(stored, **{name: getattr(given, name) for name in ("data", "epochs", "patience") if name in typed})


@contextmanager
def _joined(device_name: str) -> Iterator[tuple["World", "torch.device"]]:
    """Join the processes of this run, of which the first speaks; any may say why it failed."""
    from lstn.train.distributed import joined

    with joined(device_name) as (world, device):
        messages().quiet = world.rank > 0
        try:
            yield world, device
        finally:
            messages().quiet = False


@contextmanager
def stopping(folder: Path, how_to_go_on: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one line that says what is kept of `folder`, if there is anything in it."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        begun = folder.is_dir() and any(folder.iterdir())
        kept = f"stopped; every finished epoch is kept. Go on with: {how_to_go_on}"
        note(kept if begun else "stopped before training began")
        if finished := finished_epochs(folder):
            note(f"for test figures and pictures of the best epoch so far: {how_to_go_on} --epochs {finished}")
        raise typer.Exit(130) from None
    finally:
        with suppress(OSError):
            folder.rmdir()  # of a run that never began; a folder with a file in it stays
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
