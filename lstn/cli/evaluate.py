"""`lstn evaluate`."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.errors import UsageError
from lstn.files import write_text
from lstn.formats.outputs import EVALUATION, PAGE, OutputFile, check_outputs, files_of
from lstn.health.run_files import checkpoint_of
from lstn.machine.gpu import Device
from lstn.terminal import messages, note

if TYPE_CHECKING:
    from lstn.contract import Contract
    from lstn.data.dataset import DataSet
    from lstn.data.splits import SplitName
    from lstn.evaluation.disturb import Disturbance
    from lstn.evaluation.measuring import Classify, Evaluation

_BATCH = 64
_BATCH_BYTES = 64 << 20
"""Of one batch of pixels, so that a model of huge images doesn't take the memory."""

_PIPE_WIDTH = 100
_MOST_CLASSES, _WORST = 50, 5
"""Rows of a terminal's tables; a page and --json have every class."""

_LARGEST = {"rotate": 360.0, "scale": 100.0, "shift": 2.0}
"""Amounts that a sweep may have, either way."""


def evaluate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A run's folder, a checkpoint, model.onnx, model.plan or model.xml.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="As in lstn train; its test images are classified.", show_default="a run's own"
        ),
    ] = None,
    rotate: Annotated[
        str, typer.Option(metavar="A,B,…", help="Also turned by these angles, degrees counter-clockwise.")
    ] = "",
    scale: Annotated[str, typer.Option(metavar="A,B,…", help="Also with the content so many times as large.")] = "",
    shift: Annotated[
        str, typer.Option(metavar="A,B,…", help="Also shifted by these shares of the side, to all sides alike.")
    ] = "",
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write everything there, the confusion matrix included."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report there, one page that needs no network.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where a checkpoint or an ONNX model runs.")] = Device.AUTO,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Of the data set's splits or drawing.",
            show_default="a run's own; else 0 if no split hangs on it",
        ),
    ] = None,
) -> None:
    """Say how good a model is on the test images: top-1, top-5, its worst classes, and what it takes for what.

    --rotate, --scale and --shift repeat that on images disturbed by known amounts, bilinear and black outside, one
    disturbance at a time.
    """
    from lstn.evaluation.measuring import Evaluation, page, report, score

    wanted = {"rotate": rotate, "scale": scale, "shift": shift}
    disturbances = tuple(each for name, text in wanted.items() for each in _disturbances(name, text))
    outputs = (json_ and OutputFile(json_, EVALUATION, "--json"), html and OutputFile(html, PAGE, "--html"))
    check_outputs(outputs, inputs=files_of(file))
    with _opened(file, data, seed, device) as (contract, named, images, classify, most):
        height, width = contract.image_hw
        batch = max(1, min(most, _BATCH, _BATCH_BYTES // (height * width * 3)))
        with _progress(len(images.test)) as advance:
            plain, *others = score(classify, images.test, contract.labels, disturbances, batch=batch, advance=advance)
    sweeps = tuple(zip(disturbances, others, strict=True))
    split: SplitName = "val" if images.test_is_val else "test"
    evaluation = Evaluation(str(file), named, split, contract, plain, sweeps)
    _show(evaluation)
    if json_ is not None:
        write_text(json_, json.dumps(report(evaluation), ensure_ascii=False) + "\n")
        note(f"every figure: {json_}")
    if html is not None:
        write_text(html, page(evaluation))
        note(f"report: {html}")


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
            raise UsageError(f"--{name}: {word!r}; wanted numbers from {low:g} to {largest:g}, separated by commas")
        yield Disturbance(kind, amount)


@contextmanager
def _opened(
    file: Path, data: str | None, seed: int | None, device: Device
) -> Iterator[tuple["Contract", str, "DataSet", "Classify", int]]:
    """Yield the model's contract, the data set's name and images, pixels -> logits, and how many images that takes."""
    from lstn.data.dataset import open_data_of

    if file.is_dir() or file.suffix == ".safetensors":
        from lstn.nn.classify import open_checkpoint
        from lstn.nn.device import choose_device

        opened = open_checkpoint(checkpoint_of(file), choose_device(device.value))
        named = opened.training.data if data is None else data
        own_seed = opened.training.seed if seed is None else seed
        yield opened.contract, named, open_data_of(opened.contract, named, seed=own_seed), opened.classify, _BATCH
        return
    if data is None:
        raise UsageError(f"{file} doesn't say what it was trained on", hint="add --data digits, or --data folder:PATH")
    from lstn.runtime.engines.opening import open_engine

    with open_engine(file, device=device, spin=False) as engine:
        images = open_data_of(engine.contract, data, seed=seed)
        yield engine.contract, data, images, lambda pixels: engine.infer(pixels).logits, engine.max_batch


def _show(evaluation: "Evaluation") -> None:
    from rich.console import Console

    from lstn.evaluation.measuring import accuracy_table
    from lstn.evaluation.scores import class_table, confusion_table
    from lstn.report.table import print_table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    print_table(console, accuracy_table(evaluation))
    print_table(console, class_table(evaluation.scores, _MOST_CLASSES))
    if (worst := confusion_table(evaluation.scores, _WORST)).rows:
        print_table(console, worst)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=messages(), transient=True, disable=not messages().is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
