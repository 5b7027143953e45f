"""Steps of `lstn train` after its options: the run's folder, the processes that share it, and what is said of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lstn.cli.display.screen import phases
from lstn.cli.display.train_progress import watching
from lstn.cli.display.train_report import show_run
from lstn.cli.parsing.model_choice import factory_of
from lstn.cli.steps.ctrl_c import stopping
from lstn.errors import UsageError
from lstn.health.run_files import RUNS, check_free, run_to_resume
from lstn.machine.cores import decoders
from lstn.report.wording import counted
from lstn.terminal import messages, note
from lstn.waiting import say_loading

if TYPE_CHECKING:
    import torch

    from lstn.train.computing.distributed import World
    from lstn.train.runs.options import Options
    from lstn.train.watch.trackers import TrackerName


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training as it was asked for, and where it runs.

    folder:  of the run, in the first process
    workers: processes that decode images; None: as many as there are cores, up to 8
    model:   the backbone as it was typed; None: not given
    resumes: whether a run goes on
    """

    options: "Options"
    folder: Path
    world: "World"
    device: "torch.device"
    workers: int | None
    model: str | None
    resumes: bool


def wanted_trackers(*, tensorboard: bool, wandb: bool, mlflow: bool) -> "list[TrackerName]":
    """Return the names of the trackers that were asked for."""
    asked: dict[TrackerName, bool] = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}
    return [name for name, wanted in asked.items() if wanted]


def typed_options(context: typer.Context) -> frozenset[str]:
    """Return the names of the options that somebody gave, whatever their values."""
    names = [each.name for each in context.command.params if each.name is not None]
    sources = {name: context.get_parameter_source(name) for name in names}
    return frozenset(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


def begun_run(name: str, resume: Path | None, training: str) -> Path | None:
    """Say what begins, and return the folder of the run that is to go on, if one is; a new one's name has to be free.

    Raises:
        UsageError: no run to go on with, or one of that name.
    """
    begun = None if resume is None else run_to_resume(resume)
    if begun is None and name:
        check_free(RUNS / name)
    say_loading(f"resuming {begun}" if begun else training)
    return begun


def placed_run(options: "Options", name: str, begun: Path | None, given: frozenset[str]) -> tuple["Options", Path]:
    """Return the options and the folder of a new run, or of the one that goes on."""
    if begun is None:
        return options, RUNS / (name or _usual_name(options))
    from lstn.train.choices.resuming import resumed

    return resumed(begun, options, given), begun


def train_run(job: TrainingJob, trackers: "Sequence[TrackerName]", *, compiled: bool) -> None:
    """Train, and report what came of it; the first process speaks for all."""
    from lstn.train.choices.choosing import chosen_by_the_set
    from lstn.train.loop import train_to_end
    from lstn.train.watch.board import Board

    options, world = job.options, job.world
    folder = Path(world.first(str(job.folder)))
    with world.together():
        own = factory_of(job.model)
        board = Board(trackers, folder, options.values()) if trackers and world.rank == 0 else None
    with (
        stopping(folder, f"lstn train --resume {folder}"),
        watching(options, board, chosen_by_the_set(options)) as watcher,
    ):
        result = train_to_end(
            options,
            folder,
            device=job.device,
            workers=decoders(job.workers),
            watcher=watcher,
            resume=job.resumes,
            world=world,
            compiled=compiled,
            own=own,
        )
    if world.rank == 0:
        show_run(result, options)


def with_batch_size(job: TrainingJob, *, found: bool) -> TrainingJob:
    """Return the training with the batch size that it has or, if one is to be found, with the largest that fits.

    A run that goes on keeps its own.

    Raises:
        UsageError: one is to be found for several processes, or on a CPU.
    """
    if not found or job.resumes:
        return job
    from lstn.train.batch_finding import find_batch_size

    if job.world.size > 1:
        raise UsageError("--batch-size auto tries batches in one process", hint="give a number of images")
    with phases("trying batch sizes, two steps of each") as hear:
        images = find_batch_size(
            job.options,
            device=job.device,
            workers=decoders(job.workers),
            own=factory_of(job.model),
            hear=lambda tried: hear(0.0, counted(tried, "image")),
        )
    note(
        f"--batch-size {images}: the largest power of two that fits; the learning rate stays {job.options.recipe.lr:g}"
    )
    recipe = replace(job.options.recipe, batch_size=images)
    return replace(job, options=replace(job.options, recipe=recipe))


def try_rates(job: TrainingJob) -> None:
    """Say which learning rate a new model learns with.

    Raises:
        UsageError: a run goes on, or several processes share it.
    """
    from lstn.train.rate_finding import LOWEST, STEPS, find_rate

    if job.resumes or job.world.size > 1:
        raise UsageError("--find-lr tries rates on a model that begins, in one process", hint="leave out --resume")
    with phases(f"trying learning rates from {LOWEST:g} up, one a step") as hear:
        found = find_rate(
            job.options,
            device=job.device,
            workers=decoders(job.workers),
            own=factory_of(job.model),
            step=lambda taken: hear(taken / STEPS, f"step {taken}"),
        )
    typer.echo(
        f"--lr {found.rate:g}: a tenth of {found.at:.2g}, where the loss was lowest, {found.lowest:.3g} "
        f"after {found.first:.3g} at the start; without --lr it is {job.options.recipe.lr:g}"
    )


def _usual_name(options: "Options") -> str:
    """Return the name of a run: its localizer, its backbone with no sign that file names may not have, and the time."""
    return f"{options.loc.value}-{options.model.replace(':', '-')}-{datetime.now():%Y%m%d-%H%M%S}"


@contextmanager
def joined_processes(device_name: str) -> Iterator[tuple["World", "torch.device"]]:
    """Join the processes of this run, of which the first speaks; any may say why it failed."""
    from lstn.train.computing.distributed import joined_world

    with joined_world(device_name) as (world, device):
        messages().quiet = world.rank > 0
        try:
            yield world, device
        finally:
            messages().quiet = False
