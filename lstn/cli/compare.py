"""`lstn compare`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstn.cli.display.screen import results
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.engine_choice import EngineThreads, chosen_engines, from_zoo
from lstn.cli.parsing.report_options import HtmlReport, JsonReport
from lstn.errors import UsageError
from lstn.files import write_text
from lstn.formats.outputs import COMPARISON, PAGE, check_outputs, files_of, wanted_output
from lstn.machine.gpu import Device, engine_device
from lstn.terminal import note, printable
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.cli.steps.evaluate_classifier import ClassifierQuestions
    from lstn.evaluation.measuring import Evaluation
    from lstn.evaluation.side_by_side import SideBySide
    from lstn.runtime.bench.timed_engines import BenchSetup


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            callback=from_zoo,
            metavar="FILE|RUN",
            help="Two or more engines; of a run, its ONNX file, which is made first; or zoo:NAME.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="As in lstn evaluate.", show_default="what the first was trained on"),
    ] = None,
    worst: Annotated[
        str | None,
        typer.Option(metavar="MOVES", help="Also under the worst move of each image, as in lstn evaluate."),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Images a timed call.")] = 1,
    seconds: Annotated[float, typer.Option(metavar="S", min=0.1, max=3600, help="To time each model.")] = 5.0,
    device: DeviceName = "auto",
    threads: EngineThreads = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Of the data set.", show_default="the first model's own")
    ] = None,
    json_: JsonReport = None,
    html: HtmlReport = None,
) -> None:
    """Compare models: accuracy, size and time.

    All models answer the same images: accuracy, against the first with an interval that is paired by image, calibration
    error, and how much of known moves the transformer follows. Then they are timed in turn, as lstn bench does.
    """
    from lstn.cli.steps.evaluate_classifier import ClassifierQuestions
    from lstn.evaluation.move_bounds import MoveBounds
    from lstn.evaluation.side_by_side import side_page, side_report
    from lstn.evaluation.top_losses import LossRanking
    from lstn.runtime.bench.timed_engines import BenchSetup

    if len(files) < 2:
        raise UsageError("lstn compare needs two models or more", hint="of one: lstn evaluate and lstn bench")
    outputs = (wanted_output("--json", json_, COMPARISON), wanted_output("--html", html, PAGE))
    engines = chosen_engines(files)
    check_outputs(outputs, inputs=[each for engine in engines for each in files_of(engine)])
    bounds = None if worst is None else MoveBounds.from_text(worst)
    asked = ClassifierQuestions((), bounds, LossRanking(0), None, seed or 0, ())
    setup = BenchSetup((batch,), seconds, seed or 0, engine_device(device), threads, spin=False)
    found = _compared(engines, data, seed, asked, setup)
    _show(found)
    if json_ is not None:
        write_text(json_, json.dumps(side_report(found), ensure_ascii=False) + "\n")
    if html is not None:
        write_text(html, side_page(found))


def _compared(
    engines: Sequence[Path], data: str | None, seed: int | None, asked: "ClassifierQuestions", setup: "BenchSetup"
) -> "SideBySide":
    from lstn.evaluation.side_by_side import ModelFigures, SideBySide
    from lstn.machine.environment import describe_environment
    from lstn.runtime.bench.timed_engines import bench

    evaluations = _evaluated(engines, data, seed, asked, setup.device)
    environment = describe_environment()
    timed = bench(engines, setup, tell=lambda text: note(printable(text)))
    figures = [
        ModelFigures(evaluation, _megabytes(path), each.latency.p50_ms, each.latency.p99_ms, each.ratio)
        for path, evaluation, each in zip(engines, evaluations, timed, strict=True)
    ]
    return SideBySide(tuple(figures), setup.batches[0], environment.cpu)


def _evaluated(
    engines: Sequence[Path], data: str | None, seed: int | None, asked: "ClassifierQuestions", device: Device
) -> list["Evaluation"]:
    """Measure each on the images of the first."""
    from lstn.cli.steps.evaluate_classifier import measure_classifier
    from lstn.cli.steps.evaluated_model import evaluated_model
    from lstn.data.trained_on import split_to_test

    _check_alike(engines, device)
    found: list[Evaluation] = []
    split = None
    for engine in engines:
        with evaluated_model(engine, data, seed, device.value) as model:
            data, seed = model.named, model.training.seed if seed is None and model.training is not None else seed
            split = split or split_to_test(model.training, model.data, model.named)
            tested = "val" if split == "test" and model.data.test_is_val else split
            found.append(measure_classifier(engine, model, split, asked, tested))
    return found


def _check_alike(engines: Sequence[Path], device: Device) -> None:
    """Check, before any work, that the models can be compared.

    Raises:
        UsageError: one doesn't classify, or has other classes than the first.
        LstnError: one can't be opened.
    """
    from lstn.contract import Task, check_task
    from lstn.runtime.engines.opening import open_engine

    labels: tuple[str, ...] | None = None
    for engine in engines:
        with open_engine(engine, device=device, spin=False) as opened:
            check_task(opened.contract.task, Task.CLASSIFY, "lstn compare")
            labels = labels or opened.contract.labels
            if opened.contract.labels != labels:
                what = f"{shown_path(engine)} has other classes than {shown_path(engines[0])}"
                raise UsageError(what, hint="compare models of one task")


def _megabytes(engine: Path) -> float:
    return sum(file.stat().st_size for file in files_of(engine) if file.is_file()) / 1e6


def _show(found: "SideBySide") -> None:
    from lstn.evaluation.side_by_side import side_table
    from lstn.report.table import print_table

    print_table(results(), side_table(found))
