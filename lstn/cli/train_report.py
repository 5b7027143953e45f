"""What `lstn train` shows: a bar and a line an epoch, warnings of the transformer, and the pictures at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lstn.health.chance import FEWEST_EPOCHS, FEWEST_STEPS, at_chance, chance_cure, chance_warning
from lstn.terminal import messages, note, warn

if TYPE_CHECKING:
    from lstn.health.liveness import Health
    from lstn.health.run_health import Epoch
    from lstn.images import Pixels
    from lstn.train.loop import TrainingResult, Watcher
    from lstn.train.options import Options
    from lstn.train.watch.board import Board
    from lstn.warp import Theta

_WORST = 3
"""Classes and confusions that are printed; test.json has all."""

_COLUMNS = (
    TextColumn("epoch {task.fields[epoch]}"),
    BarColumn(bar_width=24),
    TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"),
    TimeRemainingColumn(compact=True),
)


@contextmanager
def watching(options: "Options", board: "Board | None", opening: str = "") -> Iterator["Watcher"]:
    """Yield what shows a bar for the whole run, so that its time left is the user's, and a line for every epoch.

    opening: what a new run says first; empty for nothing
    """
    from lstn.train.loop import Watcher

    with Progress(*_COLUMNS, console=messages(), transient=True, disable=not messages().is_terminal) as progress:
        task = progress.add_task("", total=None, epoch="1", loss=0.0, accuracy=0.0)
        shown = _Shown(progress, task, options, board, opening)
        try:
            yield Watcher(shown.started, shown.step, shown.epoch, shown.warped)
        finally:
            if board is not None:
                board.close()


class _Shown:
    def __init__(
        self, progress: Progress, task: TaskID, options: "Options", board: "Board | None", opening: str
    ) -> None:
        self._progress, self._task, self._options, self._board = progress, task, options, board
        self._epochs, self._opening = options.epochs, opening
        self._images_per_epoch = 0
        self._told = ""
        self._told_chance = False

    def started(self, images: int, finished: int) -> None:
        self._images_per_epoch = images
        self._progress.update(self._task, total=images * self._epochs)
        if finished:
            note(f"resuming after epoch {finished}")
        elif self._opening:
            note(self._opening)

    def step(self, epoch: int, seen: int, loss: float, accuracy: float) -> None:
        done = (epoch - 1) * self._images_per_epoch + seen
        self._progress.update(self._task, completed=done, epoch=f"{epoch}/{self._epochs}", loss=loss, accuracy=accuracy)

    def epoch(self, row: "Epoch", best: "Epoch") -> None:
        figures = f"loss {row['train_loss']:.3f}  accuracy {row['train_accuracy']:6.1%}"
        figures += f"  validation {row['val_accuracy']:6.1%}  {row['seconds']:5.1f} s"
        note(f"epoch {row['epoch']:3d}/{self._epochs}  {figures}{'  best' if row is best else ''}")
        steps = row["epoch"] * -(-self._images_per_epoch // self._options.batch_size)
        if row["epoch"] >= FEWEST_EPOCHS and steps >= FEWEST_STEPS:
            self._warn_of_chance(row)
        if "transformer" in row:
            self._warn_of(row["transformer"])
        if self._board is not None:
            self._board.epoch(row)

    def warped(self, epoch: int, pixels: "Pixels", theta: "Theta") -> None:
        if self._board is not None:
            self._board.warped(epoch, pixels, theta)

    def _warn_of_chance(self, row: "Epoch") -> None:
        """Say it once, when it is first so."""
        if at_chance(row["val_accuracy"], row.get("chance")) and not self._told_chance:
            self._told_chance = True
            warn(chance_warning(row["val_accuracy"]))
            note(f"  likely cure: {chance_cure(self._options.lr, self._options.weights)}")

    def _warn_of(self, transformer: "Health") -> None:
        """Say it when it begins, and not in every epoch that it lasts; the cure tells one trouble from another."""
        if transformer["warning"] and transformer["cure"] != self._told:
            warn(f"the transformer is {transformer['state']}: {transformer['warning']}")
            note(f"  likely cure: {transformer['cure']}")
        self._told = transformer["cure"]


def report(result: "TrainingResult", options: "Options") -> None:
    """Draw the pictures, and say where everything is and how good the model is on images that chose nothing."""
    from lstn.files import write_text
    from lstn.train.watch.pictures import (
        ANIMATION,
        CONFUSION,
        CURVES,
        WARPS,
        draw_animation,
        draw_confusion,
        draw_curves,
        draw_warps,
    )

    folder, title = result.checkpoint.parent, f"{options.loc.value} + {options.model}"
    draw_curves(folder / CURVES, result.history, title)
    draw_confusion(folder / CONFUSION, result.scores, title)
    write_text(folder / TEST, result.scores.to_json())
    left = [CURVES, CONFUSION, TEST]
    if result.shown is not None:
        draw_warps(folder / WARPS, result.model, result.val)
        left.append(WARPS)
    if result.shown is not None and result.warps:
        draw_animation(folder / ANIMATION, result.shown, result.warps)
        left.append(ANIMATION)
    _name_the_worst(result)
    accuracy = "test accuracy" if not result.test_is_val else "for want of test images, validation accuracy"
    typer.echo(
        f"{result.checkpoint}: {accuracy} {result.test_accuracy:.1%} on {result.test_images} images, "
        f"weights of epoch {result.best['epoch']}; beside it {', '.join(left)}, metrics.jsonl"
    )
    if at_chance(result.best["val_accuracy"], result.best.get("chance")):
        warn(chance_warning(result.best["val_accuracy"]))
        note(f"  likely cure: {chance_cure(options.lr, options.weights)}")


TEST = "test.json"


def _name_the_worst(result: "TrainingResult") -> None:
    scores = result.scores
    order = [index for index in scores.recall.argsort() if scores.recall[index] < 1][:_WORST]
    if order:
        classes = ", ".join(f"{scores.labels[index]} {scores.recall[index]:.0%}" for index in order)
        taken = ", ".join(f"{truth} for {wrong} ({count})" for truth, wrong, count in scores.confusions(_WORST))
        note(f"worst classes: {classes}; most often taken: {taken}")
