"""`lstn train`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lstn.contract import Loc
from lstn.cores import usable_cores
from lstn.errors import UsageError
from lstn.terminal import messages, note

if TYPE_CHECKING:
    from lstn.train.loop import Result, Watcher
    from lstn.train.options import Options
    from lstn.train.state import Epoch

RUNS = Path("runs")

_MAY_CHANGE = frozenset({"resume", "epochs", "patience", "workers", "device"})
"""Options that a resumed run may be given anew: the rest would make it another run."""


def train(
    context: typer.Context,
    loc: Annotated[Loc, typer.Option(help="Localizer in front of the backbone.")] = Loc.LSTN,
    model: Annotated[
        str, typer.Option(help="Backbone, such as effnet-b0, resnet-18, densenet-121 or cnn.")
    ] = "effnet-b0",
    data: Annotated[
        str, typer.Option(help="digits (embedded), or folder:PATH with PATH/{train,val,test}/<class>/*.")
    ] = "digits",
    weights: Annotated[str, typer.Option(help="Start the backbone from imagenet, or from a FILE of weights.")] = "",
    image_size: Annotated[
        int | None, typer.Option(min=8, max=4096, help="Side of the input in pixels.", show_default="the backbone's")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Train at most this many epochs.")] = 25,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after this many epochs without a better validation accuracy.")
    ] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 16,
    lr: Annotated[float, typer.Option(min=0, help="Adam's learning rate.")] = 0.001,
    loc_lr_scale: Annotated[
        float, typer.Option(min=0, help="The localizer's learning rate, as a share of --lr.")
    ] = 0.1,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="Arithmetic of the backbone; the transformer stays in fp32.")
    ] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes that decode images too many for memory.", show_default="one per core, up to 8"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and drawn data.")] = 0,
    name: Annotated[str, typer.Option(help="Folder of the run, under runs/.", show_default="LOC-MODEL-TIME")] = "",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder, from its last whole epoch.")
    ] = None,
) -> None:
    """Train a classifier with a spatial transformer, and keep the best epoch.

    The run's folder, runs/NAME, holds checkpoint.safetensors (the best epoch), metrics.jsonl, curves.png, warps.png,
    and last.safetensors, from which --resume goes on after Ctrl-C or a crash.
    """
    from lstn.train.device import choose_device
    from lstn.train.loop import fit
    from lstn.train.options import Options

    options = Options(
        loc=loc,
        model=model,
        data=data,
        weights=weights,
        image_size=image_size or _own_size(model),
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        lr=lr,
        loc_lr_scale=loc_lr_scale,
        precision=precision,
        seed=seed,
    )
    if resume:
        options = _resumed(context, resume, options)
    folder = resume or _named_folder(name or f"{loc.value}-{model}-{datetime.now():%Y%m%d-%H%M%S}")
    chosen = choose_device(device)
    with _stopping(folder):
        with Progress(*_COLUMNS, console=messages(), transient=True, disable=not messages().is_terminal) as progress:
            result = fit(
                options,
                folder,
                device=chosen,
                workers=min(usable_cores(), 8) if workers is None else workers,
                watcher=_watch(progress, options),
                resume=resume is not None,
            )
        _report(result, options)


_COLUMNS = (
    TextColumn("epoch {task.fields[epoch]}"),
    BarColumn(bar_width=24),
    TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"),
    TimeRemainingColumn(compact=True),
)


def _own_size(model: str) -> int:
    from lstn.train.backbones import backbone_named

    return backbone_named(model).image_size


def _named_folder(name: str) -> Path:
    if name in (".", "..") or Path(name).name != name:
        raise UsageError(f"{name!r} can't name a run", hint="a run is one folder under runs/; give its name alone")
    return RUNS / name


def _resumed(context: typer.Context, folder: Path, given: "Options") -> "Options":
    """The run's own options, with what the command line may change about them."""
    from lstn.train.state import LAST, read_options

    if not (folder / LAST).is_file():
        raise UsageError(f"{folder}: no {LAST} here, so this is no run", hint="start one with: lstn train")
    stored = read_options(folder / LAST)
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    for name in sorted(typed - _MAY_CHANGE):
        if name == "name" or getattr(given, name) != getattr(stored, name):
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option} can't change in a run that is resumed; {folder} has {getattr(stored, name, folder.name)}",
                hint=f"leave {option} out, or start a new run",
            )
    return replace(stored, **{name: getattr(given, name) for name in ("epochs", "patience") if name in typed})


@contextmanager
def _stopping(folder: Path) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one line that says what is kept."""
    from lstn.train.state import LAST

    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if (folder / LAST).is_file():
            note(f"stopped; every finished epoch is kept. Go on with: lstn train --resume {folder}")
        else:
            note("stopped before training began")
        raise typer.Exit(130) from None
    finally:
        with suppress(OSError):
            folder.rmdir()  # of a run that never began; a folder with a file in it stays
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _watch(progress: Progress, options: "Options") -> "Watcher":
    """Show a bar for the whole run, so that its time left is the user's, and a line for every finished epoch."""
    from lstn.train.loop import Watcher

    task = progress.add_task("", total=None, epoch="1", loss=0.0, accuracy=0.0)

    images_per_epoch = 0

    def started(images: int, finished: int) -> None:
        nonlocal images_per_epoch
        images_per_epoch = images
        progress.update(task, total=images * options.epochs)
        if finished:
            note(f"resuming after epoch {finished}")

    def step(epoch: int, seen: int, loss: float, accuracy: float) -> None:
        done = (epoch - 1) * images_per_epoch + seen
        progress.update(task, completed=done, epoch=f"{epoch}/{options.epochs}", loss=loss, accuracy=accuracy)

    def epoch(row: "Epoch", best: "Epoch") -> None:
        figures = f"loss {row['train_loss']:.3f}  accuracy {row['train_accuracy']:6.1%}"
        figures += f"  validation {row['val_accuracy']:6.1%}  {row['seconds']:5.1f} s"
        note(f"epoch {row['epoch']:3d}/{options.epochs}  {figures}{'  best' if row is best else ''}")

    return Watcher(started, step, epoch)


def _report(result: "Result", options: "Options") -> None:
    """Draw the pictures, and say where everything is and how good the model is on images that chose nothing."""
    from lstn.train.pictures import CURVES, WARPS, draw_curves, draw_warps

    folder = result.checkpoint.parent
    draw_curves(folder / CURVES, result.history, f"{options.loc.value} + {options.model}")
    pictures = CURVES
    if options.loc is not Loc.NONE:
        draw_warps(folder / WARPS, result.model, result.val)
        pictures += f", {WARPS}"
    typer.echo(
        f"{result.checkpoint}: test accuracy {result.test_accuracy:.1%} on {result.test_images} images, "
        f"weights of epoch {result.best['epoch']}; beside it {pictures}, metrics.jsonl"
    )
