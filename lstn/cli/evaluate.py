"""`lstn evaluate`."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lstn.cli.display.screen import results
from lstn.cli.parsing.device_choice import DeviceName
from lstn.cli.parsing.engine_choice import from_zoo
from lstn.cli.parsing.report_options import HtmlReport, JsonReport
from lstn.contract import Task, check_task
from lstn.errors import UsageError
from lstn.files import write_text
from lstn.formats.outputs import EVALUATION, PAGE, check_outputs, files_of, wanted_output
from lstn.terminal import note, note_once
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.cli.steps.evaluate_classifier import ClassifierQuestions
    from lstn.cli.steps.evaluated_model import EvaluatedModel
    from lstn.data.splits import AnySplit
    from lstn.evaluation.disturb import Disturbance
    from lstn.evaluation.measuring import Evaluation

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
            help="Which images are used.",
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
    json_: JsonReport = None,
    html: HtmlReport = None,
    top_losses: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=_MOST_LOSSES,
            help="Also show the N images that the model is most wrongly sure of, and what moves its answer there.",
        ),
    ] = 0,
    reject_below: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Also show what lstn infer --reject-below P would answer, and how often wrongly.",
            show_default="none",
        ),
    ] = None,
    device: DeviceName = "auto",
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
    """Measure accuracy, average precision or texts.

    Of a classifier, on test images: top-1, top-5, the worst classes and the most frequent confusions. --rotate, --scale
    and --shift repeat this on images changed by known amounts, bilinear and black outside, one change at a time.
    --worst combines such changes, and counts an image as right if it is right under all of them. Of a model that tags:
    average precision and F1 of each label. Of a detector: COCO's average precision, of upright and of turned boxes. Of
    a reader: texts and symbols that are wrong, and how well crops fit.
    """
    from lstn.cli.steps.evaluated_model import evaluated_model
    from lstn.data.trained_on import split_to_test

    sweeps = {"rotate": rotate, "scale": scale, "shift": shift}
    asked = _asked(sweeps, worst, top_losses, reject_below, seed)
    outputs = (wanted_output("--json", json_, EVALUATION), wanted_output("--html", html, PAGE))
    check_outputs(outputs, inputs=files_of(file))
    with evaluated_model(file, data, seed, device) as model:
        if model.data.found:
            note_once(model.data.found)
        chosen = split or split_to_test(model.training, model.data, model.named)
        tested: AnySplit = "val" if chosen == "test" and model.data.test_is_val else chosen
        _write(json_, html, *_evaluated(file, model, chosen, tested, asked))


def _evaluated(
    file: Path, model: "EvaluatedModel", chosen: "AnySplit", tested: "AnySplit", asked: "ClassifierQuestions"
) -> tuple[dict[str, Any], str]:
    """Measure a model by its task, print the tables, and return every figure, and a page."""
    from lstn.alignment.aligning import alignment_page, alignment_report
    from lstn.cli.steps.evaluate_aligner import evaluate_aligner
    from lstn.cli.steps.evaluate_classifier import measure_classifier
    from lstn.cli.steps.evaluate_detector import evaluate_detector, show_detection
    from lstn.cli.steps.evaluate_reader import evaluate_reader, show_reading
    from lstn.cli.steps.evaluate_tagger import evaluate_tagger, show_tagging
    from lstn.detection.detecting import detection_page, detection_report
    from lstn.evaluation.measuring import evaluation_page, evaluation_report
    from lstn.tagging.tagging import tagging_page, tagging_report
    from lstn.transcription.reading import reading_page, reading_report

    if asked.names:
        check_task(model.contract.task, Task.CLASSIFY, asked.names[0], hint="leave it out")
    if model.contract.task is Task.TAG:
        tagged = evaluate_tagger(model, shown_path(file), chosen, tested)
        show_tagging(tagged)
        return tagging_report(tagged), tagging_page(tagged)
    if model.contract.task is Task.DETECT:
        found = evaluate_detector(model, shown_path(file), chosen, tested)
        show_detection(found)
        return detection_report(found), detection_page(found)
    if model.contract.task is Task.READ:
        texts = evaluate_reader(model, shown_path(file), chosen, tested)
        show_reading(texts)
        return reading_report(texts), reading_page(texts)
    if model.contract.task is Task.ALIGN:
        aligned = evaluate_aligner(model, shown_path(file), chosen, tested)
        return alignment_report(aligned), alignment_page(aligned)
    evaluation = measure_classifier(file, model, chosen, asked, tested)
    _show(evaluation)
    return evaluation_report(evaluation), evaluation_page(evaluation)


def _asked(
    sweeps: dict[str, str], worst: str | None, top_losses: int, reject_below: float | None, seed: int | None
) -> "ClassifierQuestions":
    from lstn.cli.steps.evaluate_classifier import ClassifierQuestions
    from lstn.evaluation.move_bounds import MoveBounds
    from lstn.evaluation.top_losses import LossRanking

    given = {**sweeps, "worst": worst, "top-losses": top_losses, "reject-below": reject_below}
    return ClassifierQuestions(
        disturbances=tuple(each for name, text in sweeps.items() for each in _disturbances(name, text)),
        bounds=None if worst is None else MoveBounds.from_text(worst),
        ranking=LossRanking(top_losses),
        reject_below=reject_below,
        seed=seed or 0,
        names=tuple(f"--{name}" for name, value in given.items() if value not in (None, 0, "")),
    )


def _write(json_: Path | None, html: Path | None, figures: dict[str, Any], shown: str) -> None:
    if json_ is not None:
        write_text(json_, json.dumps(figures, ensure_ascii=False) + "\n")
        note(f"every figure: {json_}")
    if html is not None:
        write_text(html, shown)
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
            raise UsageError(f"--{name}: {word!r}; expected numbers from {low:g} to {largest:g}, separated by commas")
        yield Disturbance(kind, amount)


def _show(evaluation: "Evaluation") -> None:
    from lstn.evaluation.confidence import confidence_table, rejection_table
    from lstn.evaluation.measuring import accuracy_table, follow_table, pose_table
    from lstn.evaluation.scores import class_table, confusion_table
    from lstn.evaluation.top_losses import mistakes_table
    from lstn.evaluation.worst_case import worst_table
    from lstn.report.table import print_table

    console = results()
    print_table(console, accuracy_table(evaluation))
    print_table(console, confidence_table(evaluation.confidence))
    if evaluation.reject_below is not None:
        print_table(console, rejection_table(evaluation.confidence, evaluation.reject_below))
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
