"""Report of `lstn train` at its end: the pictures, the figures on test images, and where everything is."""

from typing import TYPE_CHECKING

import typer

from lstn.contract import Task
from lstn.health.chance import at_chance, chance_cure, chance_warning
from lstn.health.run_files import TEST
from lstn.report.wording import counted
from lstn.terminal import note, warn

if TYPE_CHECKING:
    from lstn.evaluation.scores import Scores
    from lstn.train.runs.options import Options
    from lstn.train.tested import TrainingResult

_WORST = 3
"""Classes and confusions that are printed; test.json has all."""


def show_run(result: "TrainingResult", options: "Options") -> None:
    """Draw the pictures, and say where everything is and how good the model is on images that chose nothing."""
    from lstn.files import write_text
    from lstn.train.watch.pictures import CURVES, draw_curves
    from lstn.train.watch.task_words import WORDS

    folder, words = result.checkpoint.parent, WORDS[options.task]
    title = f"{options.loc.value} + {options.model}"
    draw_curves(folder / CURVES, result.history, title, words)
    write_text(folder / TEST, result.scores.to_json())
    drawn = {
        Task.CLASSIFY: lambda: _draw_classified(result, title),
        Task.TAG: lambda: _draw_tagged(result),
        Task.DETECT: lambda: _draw_detected(result),
        Task.READ: lambda: _draw_read(result),
        Task.ALIGN: lambda: _draw_aligned(result),
        Task.GENERATE: lambda: _tell_painted(result),
    }[options.task]()
    told = f"test {words.accuracy}"
    if result.test_is_val:
        told = f"there are no test images, so validation {words.accuracy}"
    typer.echo(
        f"{result.checkpoint}: {told} {result.test_accuracy:.1%} on {counted(result.test_images, 'image')}, "
        f"weights of epoch {result.best['epoch']}; next to it {', '.join([CURVES, TEST, *drawn])}, metrics.jsonl"
    )
    if at_chance(result.best["val_accuracy"], result.best.get("chance")):
        warn(chance_warning(result.best["val_accuracy"]))
        note(f"  likely cure: {chance_cure(options.model, options.recipe.lr, options.weights)}")


def _draw_classified(result: "TrainingResult", title: str) -> list[str]:
    """Draw what a classifier came to, and return the names of the pictures."""
    from lstn.evaluation.scores import Scores
    from lstn.train.watch.pictures import CONFUSION, draw_confusion

    assert isinstance(result.scores, Scores)
    draw_confusion(result.checkpoint.parent / CONFUSION, result.scores, title)
    drawn = [CONFUSION, *_draw_warps(result)]
    _name_the_worst(result.scores)
    if (temperature := result.contract.temperature) != 1:
        note(f"temperature {temperature:.2f}: with it, probabilities fit the validation images best")
    return drawn


def _draw_warps(result: "TrainingResult") -> list[str]:
    """Draw what a transformer that was watched made of a few images, and return the names of the pictures."""
    from lstn.nn.classifier import Classifier
    from lstn.train.watch.pictures import ANIMATION, WARPS, draw_animation, draw_warps
    from lstn.warps.warp import sampling_of

    if result.shown is None:
        return []
    assert isinstance(result.model, Classifier)  # no other model is watched
    sampling, folder = sampling_of(result.contract), result.checkpoint.parent
    draw_warps(folder / WARPS, result.model, result.val, sampling)
    if not result.warps:
        return [WARPS]
    draw_animation(folder / ANIMATION, result.shown, result.warps, sampling)
    return [WARPS, ANIMATION]


def _draw_tagged(result: "TrainingResult") -> list[str]:
    """Say the figures of a model that tags, draw where it looked in a few images, and return the pictures' names."""
    from lstn.tagging.tag_scores import TagScores

    assert isinstance(result.scores, TagScores)
    scores = result.scores
    note(f"F1 {scores.macro_f1:.1%}, the mean over labels; of all labels together {scores.micro_f1} %")
    worst = sorted((each for each in scores.labels if each.images), key=lambda each: each.average_precision or 0.0)
    told = ", ".join(f"{each.label} {each.average_precision or 0.0:.0%}" for each in worst[:_WORST])
    note(f"labels of the lowest average precision: {told}")
    return _draw_warps(result)


def _draw_detected(result: "TrainingResult") -> list[str]:
    """Draw what a detector found in a few images, say its figures, and return the picture's name."""
    from lstn.detection.detecting import DetectionScores, percent
    from lstn.nn.detector import Detector
    from lstn.train.watch.pictures import DETECTIONS, draw_detections

    assert isinstance(result.scores, DetectionScores)
    assert isinstance(result.model, Detector)
    draw_detections(result.checkpoint.parent / DETECTIONS, result.model, result.val)
    upright, turned = result.scores.upright, result.scores.turned
    note(
        f"AP (overlaps 0.50 to 0.95) {percent(upright.ap)} % of upright boxes, {percent(turned.ap)} % of turned ones; "
        f"AP50 {percent(upright.ap50)} % and {percent(turned.ap50)} %"
    )
    return [DETECTIONS]


def _draw_read(result: "TrainingResult") -> list[str]:
    """Draw what a reader read in a few images, say its figures, and return the picture's name."""
    from lstn.nn.reader import Reader
    from lstn.train.watch.pictures import TEXTS, draw_texts
    from lstn.transcription.reading_scores import ReadingScores

    assert isinstance(result.scores, ReadingScores)
    assert isinstance(result.model, Reader)
    scores = result.scores
    overlap = "" if scores.overlap is None else f"; crops overlap boxes by {scores.overlap:.0%} (mean IoU)"
    note(f"texts with an error {scores.text_error} %; wrong symbols {scores.symbol_error} %{overlap}")
    if result.model.transformer is None:
        return []
    draw_texts(result.checkpoint.parent / TEXTS, result.model, result.val)
    return [TEXTS]


def _draw_aligned(result: "TrainingResult") -> list[str]:
    """Draw where the words of a few images are, say a model's figures, and return the picture's name."""
    from lstn.alignment.alignment_scores import AlignmentScores
    from lstn.nn.aligner import Aligner
    from lstn.train.watch.pictures import ALIGNED, draw_aligned

    assert isinstance(result.scores, AlignmentScores)
    assert isinstance(result.model, Aligner)
    scores = result.scores
    overlap = "" if scores.overlap is None else f"; words and objects overlap by {scores.overlap:.0%} (mean IoU)"
    found = f"sentences found {scores.sentence_recall} %, images {scores.image_recall} %"
    note(f"among {scores.among}: {found}{overlap}")
    draw_aligned(result.checkpoint.parent / ALIGNED, result.model, result.val)
    return [ALIGNED]


def _tell_painted(result: "TrainingResult") -> list[str]:
    """Say what a generator's pictures came to, and return the name of their folder."""
    from lstn.synthesis.generation_scores import GenerationScores
    from lstn.train.watch.sample_sheet import SAMPLES

    assert isinstance(result.scores, GenerationScores)
    scores, seen = result.scores, result.scores.variety
    told = (
        "" if scores.told_apart is None else f"a classifier tells {scores.told_apart} % rightly, where 50 % is chance; "
    )
    note(f"{told}pictures of a class differ by {seen['diversity']:.0%} of what real ones do")
    return [f"{SAMPLES}/"]


def _name_the_worst(scores: "Scores") -> None:
    recall = scores.recall
    order = [index for index in recall.argsort() if recall[index] < 1][:_WORST]
    if order:
        classes = ", ".join(f"{scores.labels[index]} {recall[index]:.0%}" for index in order)
        taken = ", ".join(f"{truth} for {wrong} ({count})" for truth, wrong, count in scores.confusions(_WORST))
        note(f"worst classes: {classes}; most often taken: {taken}")
