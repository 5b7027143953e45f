"""`lstn evaluate`."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lstn.cli.display.screen import results
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.errors import UsageError
from lstn.files import write_text
from lstn.formats.outputs import EVALUATION, PAGE, check_outputs, files_of, wanted_output
from lstn.health.run_files import checkpoint_of
from lstn.machine.gpu import Device
from lstn.machine.memory import batch_of
from lstn.report.wording import counted
from lstn.terminal import note, note_once
from lstn.waiting import say_loading, working
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.contract import Contract
    from lstn.data.dataset import DataSet
    from lstn.data.splits import AnySplit, Split
    from lstn.evaluation.disturb import Disturbance
    from lstn.evaluation.measuring import Answering, Evaluation
    from lstn.evaluation.move_bounds import MoveBounds
    from lstn.evaluation.top_losses import LossRanking
    from lstn.evaluation.worst_case import WorstCase
    from lstn.formats.training_record import Training

_BATCH = 64
_MOST_CLASSES, _WORST = 50, 5
"""Rows of a terminal's tables; a page and --json have every class."""

_MOST_LOSSES = 1000

_LARGEST = {"rotate": 360.0, "scale": 100.0, "shift": 2.0}
"""Amounts that a sweep may have, either way."""


def evaluate(
    file: Annotated[
        Path,
        typer.Argument(
            callback=from_zoo,
            metavar="FILE",
            help="A run's folder, a checkpoint, model.onnx, model.plan or model.xml; or zoo:NAME.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="As in lstn train, or new images: a folder may have fewer classes than the model.",
            show_default="what the model was trained on",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        typer.Option(
            help="Which images are classified.",
            show_default="test; all of a folder that is not divided, unless the model was trained on it",
        ),
    ] = None,
    rotate: Annotated[
        str, typer.Option(metavar="A,B,…", help="Also turned by these angles, degrees counter-clockwise.")
    ] = "",
    scale: Annotated[str, typer.Option(metavar="A,B,…", help="Also with the content so many times as large.")] = "",
    shift: Annotated[
        str, typer.Option(metavar="A,B,…", help="Also shifted by these shares of the side, to all sides alike.")
    ] = "",
    worst: Annotated[
        str | None,
        typer.Option(
            metavar="MOVES",
            help="Also under the worst move of each image, of a grid such as 'rotate 30, shift 0.1, scale 1.2'; with "
            "'random 10' among them, of ten drawn moves.",
            show_default="none",
        ),
    ] = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything there, the confusion matrix included."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report there, one page that needs no network.")
    ] = None,
    top_losses: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=_MOST_LOSSES,
            help="Also show the N images that the model is most wrongly sure of, and what moves its answer there.",
        ),
    ] = 0,
    device: Annotated[Device, typer.Option(help="Where a checkpoint or an ONNX model runs.")] = Device.AUTO,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Of the data set's splits or drawing, and of moves that --worst draws.",
            show_default="the model's own; else 0 if no split depends on it",
        ),
    ] = None,
) -> None:
    """Measure accuracy on test images.

    Shows top-1, top-5, the worst classes and the most frequent confusions. --rotate, --scale and --shift repeat this on
    images changed by known amounts, bilinear and black outside, one change at a time. --worst combines such changes,
    and counts an image as right if it is right under all of them.
    """
    from lstn.evaluation.measuring import page, report
    from lstn.evaluation.move_bounds import MoveBounds
    from lstn.evaluation.top_losses import LossRanking

    bounds = None if worst is None else MoveBounds.from_text(worst)
    wanted = {"rotate": rotate, "scale": scale, "shift": shift}
    disturbances = tuple(each for name, text in wanted.items() for each in _disturbances(name, text))
    outputs = (wanted_output("--json", json_, EVALUATION), wanted_output("--html", html, PAGE))
    check_outputs(outputs, inputs=files_of(file))
    evaluation = _measured(file, data, split, seed, device, disturbances, bounds, LossRanking(top_losses))
    _show(evaluation)
    if json_ is not None:
        write_text(json_, json.dumps(report(evaluation), ensure_ascii=False) + "\n")
        note(f"every figure: {json_}")
    if html is not None:
        write_text(html, page(evaluation))
        note(f"report: {html}")


def _measured(
    file: Path,
    data: str | None,
    split: "AnySplit | None",
    seed: int | None,
    device: Device,
    disturbances: Sequence["Disturbance"],
    bounds: "MoveBounds | None",
    ranking: "LossRanking",
) -> "Evaluation":
    from lstn.cli.steps.explain_losses import explained_mistakes
    from lstn.data.trained_on import split_to_test
    from lstn.evaluation.measuring import Evaluation, score
    from lstn.evaluation.moving import measure_follow
    from lstn.evaluation.posing import measure_pose

    with _opened(file, data, seed, device) as (contract, named, data_set, training, model, most):
        batch = batch_of(contract.image_hw, min(most, _BATCH))
        if data_set.found:
            note_once(data_set.found)
        chosen = split or split_to_test(training, data_set, named)
        images = data_set.split(chosen)
        with working(f"classifying {counted(len(images), 'image')} of {named}", len(images)) as advance:
            plain, *others = score(
                model.classify, images, contract.labels, disturbances, batch=batch, advance=advance, ranking=ranking
            )
        worst = None if bounds is None else _worst(model, images, bounds, batch, seed or 0)
        follow = None if model.locate is None else measure_follow(model.locate, images, contract, batch=batch)
        pose = None if model.locate is None else measure_pose(model.locate, images, batch=batch)
        mistakes = explained_mistakes(ranking.mistakes, model.both, contract, images, batch=batch)
    sweeps = tuple(zip(disturbances, others, strict=True))
    tested: AnySplit = "val" if chosen == "test" and data_set.test_is_val else chosen
    return Evaluation(shown_path(file), named, tested, contract, plain, sweeps, follow, pose, worst, mistakes)


def _worst(model: "Answering", images: "Split", bounds: "MoveBounds", batch: int, seed: int) -> "WorstCase":
    from lstn.evaluation.worst_case import measure_worst

    what = f"moving {counted(len(images), 'image')}, {counted(bounds.count, 'move')} each"
    with working(what, len(images)) as advance:
        return measure_worst(model.classify, images, bounds, batch=batch, seed=seed, advance=advance)


def _disturbances(name: str, text: str) -> Iterator["Disturbance"]:
    from lstn.evaluation.disturb import Disturbance, Kind

    kind, largest = Kind(name), _LARGEST[name]
    for word in text.split(",") if text else ():
        try:
            amount = float(word)
        except ValueError:
            amount = math.nan
        low = 1 / largest if kind is Kind.SCALE else -largest
        if not low <= amount <= largest:
            raise UsageError(f"--{name}: {word!r}; expected numbers from {low:g} to {largest:g}, separated by commas")
        yield Disturbance(kind, amount)


@contextmanager
def _opened(
    file: Path, data: str | None, seed: int | None, device: Device
) -> Iterator[tuple["Contract", str, "DataSet", "Training | None", "Answering", int]]:
    """Yield the model's contract, the data set's name and images, what the model was trained on, what it answers, and
    to how many images at once."""
    from lstn.data.dataset import open_data_of
    from lstn.data.trained_on import data_and_seed

    if file.is_dir() or file.suffix == ".safetensors":
        say_loading(f"evaluating {file}")
        from lstn.nn.classify import open_checkpoint
        from lstn.nn.device import choose_device

        opened = open_checkpoint(checkpoint_of(file), choose_device(device.value))
        named, drawn = data_and_seed(file, opened.training, data, seed)
        images = open_data_of(opened.contract, named, seed=drawn)
        yield opened.contract, named, images, opened.training, opened.answering, _BATCH
        return
    from lstn.formats.inspection import training_of
    from lstn.runtime.engines.as_answering import answering
    from lstn.runtime.engines.opening import open_engine

    opening = open_engine(file, device=device, spin=False)
    training = training_of(file)
    named, drawn = data_and_seed(file, training, data, seed)
    with opening as engine:
        images = open_data_of(engine.contract, named, seed=drawn)
        yield engine.contract, named, images, training, answering(engine), engine.max_batch


def _show(evaluation: "Evaluation") -> None:
    from lstn.evaluation.measuring import accuracy_table, follow_table, pose_table
    from lstn.evaluation.scores import class_table, confusion_table
    from lstn.evaluation.top_losses import mistakes_table
    from lstn.evaluation.worst_case import worst_table
    from lstn.report.table import print_table

    console = results()
    print_table(console, accuracy_table(evaluation))
    if evaluation.worst is not None:
        print_table(console, worst_table(evaluation.worst))
    if evaluation.follow is not None:
        print_table(console, follow_table(evaluation.follow))
    if evaluation.pose is not None:
        print_table(console, pose_table(evaluation.pose))
    if evaluation.top_losses:
        print_table(console, mistakes_table(evaluation.top_losses))
    print_table(console, class_table(evaluation.scores, _MOST_CLASSES))
    if (worst := confusion_table(evaluation.scores, _WORST)).rows:
        print_table(console, worst)
