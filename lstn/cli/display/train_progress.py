"""Progress of `lstn train`: the start, the time left, a line an epoch, and warnings."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lstn.cli.display.screen import bar_of
from lstn.health.chance import FEWEST_EPOCHS, FEWEST_STEPS, at_chance, chance_cure, chance_warning
from lstn.health.follow import brief
from lstn.health.pose_error import brief_pose
from lstn.machine.cores import usable_cores
from lstn.report.wording import counted
from lstn.terminal import note, warn
from lstn.waiting import duration, telling

if TYPE_CHECKING:
    from PIL import Image

    from lstn.health.generator_health import GeneratorHealth
    from lstn.health.liveness import Health
    from lstn.health.run_health import Epoch
    from lstn.images import Pixels
    from lstn.train.pace import Pace
    from lstn.train.runs.options import Options
    from lstn.train.watch.board import Board
    from lstn.train.watch.task_words import TaskWords
    from lstn.train.watch.watcher import Outlook, Watcher
    from lstn.warps.warp import CropSampling, Theta

_SMALLEST = 32
"""Pixels below which a smaller image isn't recommended."""

_HOURS_S = 3600.0
"""A run that takes longer on a CPU is worth a word on what is quicker."""

_SOON_S = 4.0
"""How long after the first step the time left is said, if the second takes so long."""

_COLUMNS = (
    TextColumn("epoch {task.fields[epoch]}"),
    BarColumn(bar_width=24),
    TextColumn("loss {task.fields[loss]:.3f}  {task.fields[right]} {task.fields[accuracy]:.1%}"),
    TextColumn("{task.fields[left]}"),
)


@contextmanager
def watching(options: "Options", board: "Board | None" = None, opening: str = "") -> Iterator["Watcher"]:
    """Yield what shows how the run goes: what begins, the time left, and a line for every epoch.

    opening: what a new run says first; empty for nothing
    """
    from lstn.train.watch.task_words import WORDS
    from lstn.train.watch.watcher import Watcher

    words = WORDS[options.task]
    with bar_of(*_COLUMNS) as progress:
        task = progress.add_task("", total=None, epoch="1", loss=0.0, accuracy=0.0, left="", right=words.right)
        shown = _Shown(progress, task, options, words, board, opening)
        try:
            with telling(shown.describe):
                yield Watcher(shown.started, shown.step, shown.epoch, shown.warped, shown.painted)
        finally:
            shown.close()


class _Shown:
    def __init__(
        self,
        progress: Progress,
        task: TaskID,
        options: "Options",
        words: "TaskWords",
        board: "Board | None",
        opening: str,
    ) -> None:
        self._words = words
        self._progress, self._task, self._options, self._board = progress, task, options, board
        self._outlook: Outlook | None = None
        self._pace: Pace | None = None
        self._where = ""
        self._soon: threading.Timer | None = None
        self._timed = threading.Lock()
        self._opening = opening
        self._told = ""
        self._told_chance = False
        self._epochs = None if options.recipe.hours else options.epochs

    def close(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
        if self._board is not None:
            self._board.close()

    def started(self, outlook: "Outlook") -> None:
        from lstn.train.pace import Pace

        epochs, recipe = self._options.epochs, self._options.recipe
        self._outlook = outlook
        self._pace = Pace(
            images=outlook.images,
            val_images=outlook.val_images,
            steps=outlook.steps,
            epochs=epochs,
            budget_s=recipe.hours * _HOURS_S - outlook.spent_s if recipe.hours else None,
        )
        self._progress.update(self._task, total=self._epochs and outlook.images * self._epochs)
        if outlook.finished:
            note(f"resuming after epoch {outlook.finished}")
        elif self._opening:
            note(self._opening)
        place = f"the CPU, {counted(usable_cores(), 'core')}" if outlook.device == "cpu" else outlook.device
        note(
            f"{self._options.loc.value} + {self._options.model}, {outlook.parameters:,} parameters, on {place}: "
            f"{counted(outlook.images, 'training image')} in {counted(outlook.steps, 'step')} of "
            f"{f'{recipe.accumulate} x ' * (recipe.accumulate > 1)}{recipe.batch_size}, "
            + (
                f"as many epochs as fit into {recipe.hours:g} h"
                if recipe.hours
                else f"{'at most ' * (epochs > 1)}{counted(epochs, 'epoch')}"
            )
        )

    def describe(self) -> str:
        if self._pace is None:
            return "reading the images"
        if not self._pace.steps_taken:
            return f"the first step: {duration(time.monotonic() - self._pace.began)} so far"
        left = self._pace.left_s
        return f"{self._where}, {duration(left)} left" if left else self._where

    def step(self, epoch: int, seen: int, loss: float, accuracy: float) -> None:
        assert self._pace is not None  # a run starts before its first step
        assert self._outlook is not None
        first = not self._pace.steps_taken
        self._pace.step(epoch, seen)
        if first:
            self._soon = threading.Timer(_SOON_S, self._say_pace)
            self._soon.daemon = True
            self._soon.start()
        elif time.monotonic() - self._pace.began > _SOON_S / 2:
            self._say_pace()
        place = f"{epoch}/{self._epochs}" if self._epochs else f"{epoch}"
        self._where = f"epoch {place}: {seen:,} of {counted(self._outlook.images, 'image')}, loss {loss:.3f}"
        if seen == self._outlook.images:
            self._where = f"epoch {place}: the validation images"
        self._progress.update(
            self._task,
            completed=(epoch - 1) * self._outlook.images + seen,
            epoch=place,
            loss=loss,
            accuracy=accuracy,
            left=f"{duration(self._pace.left_s)} left",
        )

    def _say_pace(self) -> None:
        """Say once how long a step, an epoch and the run take; on a CPU, of a long run, what is quicker."""
        if not self._timed.acquire(blocking=False):  # for good: it is said already
            return
        assert self._pace is not None
        assert self._outlook is not None
        left = self._pace.left_s
        note(
            f"a step takes {self._pace.step_s:.2g} s, an epoch {duration(self._pace.epoch_s)}, "
            f"and what is left {duration(left)} if it doesn't stop early"
        )
        if self._outlook.device == "cpu" and left > _HOURS_S and not self._options.recipe.hours:
            from lstn.train.runs.options import said

            half = (self._options.image_size[0] // 2, self._options.image_size[1] // 2)
            quarter = f"--image-size {said(half)} takes a quarter of that; " if min(half) >= _SMALLEST else ""
            warn(f"this run takes hours on a CPU. {quarter}--model cnn, fewer --epochs and a GPU are quicker, too")

    def epoch(self, row: "Epoch", best: "Epoch") -> None:
        words = self._words
        chosen_by = "validation" if words.accuracy == words.right else f"validation {words.accuracy}"
        figures = f"loss {row['train_loss']:.3f}  {words.right} {row['train_accuracy']:6.1%}"
        figures += f"  {chosen_by} {row['val_accuracy']:6.1%}  {row['seconds']:5.1f} s"
        if "transformer" in row and (follow := row["transformer"]["follow"]) is not None:
            figures += f"  follows {brief(follow)}"
        if "transformer" in row and (pose := row["transformer"]["pose"]) is not None:
            figures += f"  {brief_pose(pose)}"
        if row["epoch"] > 1 and "planned" in row:  # before, nothing is known of what fits into a time budget
            self._epochs = row["planned"]
        planned = f"/{self._epochs}" if self._epochs else ""
        note(f"epoch {row['epoch']:3d}{planned}  {figures}{'  best' if row is best else ''}")
        if self._pace is not None:
            self._pace.epoch(row["seconds"])
        self._where = f"after epoch {row['epoch']}"
        steps = row["epoch"] * self._outlook.steps if self._outlook is not None else 0
        if row["epoch"] >= FEWEST_EPOCHS and steps >= FEWEST_STEPS:
            self._warn_of_chance(row)
        if "transformer" in row:
            self._warn_of("transformer", row["transformer"])
        if "generator" in row:
            self._warn_of("generator", row["generator"])
        if self._board is not None:
            self._board.epoch(row)

    def warped(self, epoch: int, pixels: "Pixels", theta: "Theta", sampling: "CropSampling") -> None:
        if self._board is not None:
            self._board.warped(epoch, pixels, theta, sampling)

    def painted(self, epoch: int, sheet: "Image.Image") -> None:
        if self._board is not None:
            self._board.painted(epoch, sheet)

    def _warn_of_chance(self, row: "Epoch") -> None:
        """Say it once, when it is first so."""
        if at_chance(row["val_accuracy"], row.get("chance")) and not self._told_chance:
            self._told_chance = True
            warn(chance_warning(row["val_accuracy"]))
            note(f"  likely cure: {chance_cure(self._options.model, self._options.recipe.lr, self._options.weights)}")

    def _warn_of(self, what: str, health: "Health | GeneratorHealth") -> None:
        """Say it when it begins, and not in every epoch that it lasts; the cure tells one trouble from another."""
        if health["warning"] and health["cure"] != self._told:
            warn(f"the {what} is {health['state']}: {health['warning']}")
            note(f"  likely cure: {health['cure']}")
        self._told = health["cure"]
