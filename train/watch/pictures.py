"""Pictures of a run: curves.png, warps.png, warps.gif and confusion.png."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from lstn.alignment.word_regions import located_words
from lstn.data.dataset import Split
from lstn.data.objects import objects_of
from lstn.data.splits import spaced
from lstn.detection.drawn_objects import draw_objects
from lstn.detection.suppression import SHOWN_SCORE, Detection, detections
from lstn.evaluation.answer import Logits
from lstn.evaluation.scores import Scores
from lstn.files import replacing, write_bytes
from lstn.health.run_health import Epoch, best_epoch
from lstn.images import Pixels
from lstn.nn.aligner import Aligner
from lstn.nn.classifier import Classifier
from lstn.nn.detector import Detector
from lstn.nn.reader import Reader
from lstn.report.wording import counted
from lstn.train.watch.fonts import drawable
from lstn.train.watch.task_words import TaskWords
from lstn.transcription.transcripts import drawn_symbols, transcripts
from lstn.warps.drawn_warp import contact_sheet, draw_warp
from lstn.warps.warp import CropSampling, Theta

CURVES, WARPS, ANIMATION, CONFUSION = "curves.png", "warps.png", "warps.gif", "confusion.png"
DETECTIONS, TEXTS, ALIGNED = "detections.png", "texts.png", "words.png"

_FRAMES = 48
"""Frames of an animation: of longer runs, as many epochs evenly spaced, so that the file stays below a few MB."""

_FRAME_MS, _LAST_MS = 200, 2500
_COLOURS = 128
_NAMED = 50
"""Classes up to which each is named beside a confusion matrix, and _COUNTED up to which every cell has its number."""
_COUNTED = 15
_CELLS = 500
"""Rows of the matrix that are drawn at most; of more classes, several share one."""


def draw_curves(path: Path, history: tuple[Epoch, ...], title: str, words: TaskWords) -> None:
    """Draw the loss, and what the best epoch is chosen by, over the epochs."""
    epochs = [row["epoch"] for row in history]
    best = best_epoch(history)
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    losses.plot(epochs, [row["train_loss"] for row in history], label="train")
    losses.plot(epochs, [row["val_loss"] for row in history], label="validation")
    losses.set(
        xlabel="epoch", ylabel=words.loss + (" (nats)" if "entropy" in words.loss else ""), title=title, ylim=(0, None)
    )
    accuracies.plot(epochs, [100 * row["train_accuracy"] for row in history], label=f"train: {words.right}")
    accuracies.plot(epochs, [100 * row["val_accuracy"] for row in history], label=f"validation: {words.accuracy}")
    accuracies.plot(best["epoch"], 100 * best["val_accuracy"], "o", color="C1", label="best")
    accuracies.set(xlabel="epoch", ylabel="%", title=f"best {best['val_accuracy']:.1%} in epoch {best['epoch']}")
    for axes in (losses, accuracies):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def draw_detections(path: Path, model: Detector, images: Split, *, count: int = 16) -> None:
    """Draw `count` images with the objects that the model found in them."""
    labels = model.contract.labels
    _draw_found(path, model, images, count, lambda logits, theta: detections(logits, theta, labels, least=SHOWN_SCORE))


def draw_texts(path: Path, model: Reader, images: Split, *, count: int = 16) -> None:
    """Draw `count` images with the symbols that the model read in them; for a model with a transformer."""
    labels, between = model.contract.labels, model.contract.separator

    def read(logits: Logits, theta: Theta) -> Sequence[Detection]:
        return drawn_symbols(transcripts(logits, theta, labels)[0].symbols, between)

    _draw_found(path, model, images, count, read)


@torch.no_grad()
def draw_aligned(path: Path, model: Aligner, images: Split, *, count: int = 16) -> None:
    """Draw `count` images with the words of their sentences, each where it fits best."""
    model.eval()
    labels, chosen = model.contract.labels, spaced(len(images), count)
    pixels = np.stack([images[index][0] for index in chosen])
    regions, theta = (each.numpy() for each in model(torch.from_numpy(pixels)))
    drawn = []
    for index, image, vectors, places in zip(chosen, pixels, regions, theta, strict=True):
        numbers = objects_of(images, index).labels
        said = tuple(labels[number] for number in numbers)
        words = located_words(said, model.words(torch.from_numpy(numbers)).numpy(), vectors, places)
        drawn.append(draw_objects(image, drawn_symbols(words, model.contract.separator), labels))
    with replacing(path) as temporary:
        contact_sheet(drawn).save(temporary, format="png")


def _draw_found(
    path: Path,
    model: Detector | Reader,
    images: Split,
    count: int,
    found_in: Callable[[Logits, Theta], Sequence[Detection]],
) -> None:
    model.eval()
    pixels = np.stack([images[index][0] for index in spaced(len(images), count)])
    with torch.no_grad():
        answers = [each.numpy() for each in model(torch.from_numpy(pixels))]
    found = [found_in(logits, theta) for logits, theta in zip(*answers, strict=True)]
    labels = model.contract.labels
    sheet = contact_sheet([draw_objects(image, each, labels) for image, each in zip(pixels, found, strict=True)])
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")


@torch.no_grad()
def draw_warps(path: Path, model: Classifier, images: Split, sampling: CropSampling, *, count: int = 16) -> None:
    """Draw `count` inputs with the quadrilateral that the transformer chose, each beside the crop that it makes."""
    model.eval()
    pixels = np.stack([images[index][0] for index in spaced(len(images), count)])
    _, theta = model.transform(torch.from_numpy(pixels))
    if theta is None:
        raise ValueError("a model without a localizer has no warps to draw")
    pairs = zip(pixels, theta.numpy(), strict=True)
    sheet = contact_sheet([draw_warp(image, matrix, sampling, side=112) for image, matrix in pairs])
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")


def draw_sheet(pixels: Pixels, theta: Theta, sampling: CropSampling) -> Image.Image:
    """Draw images (n, H, W, 3) with their windows and crops by theta (n, …) in rows, small enough to be animated."""
    pairs = zip(pixels, theta, strict=True)
    return contact_sheet([draw_warp(image, matrix, sampling, side=72) for image, matrix in pairs])


def draw_animation(path: Path, pixels: Pixels, warps: Sequence[Theta], sampling: CropSampling) -> None:
    """Draw how the warps of the same images (n, H, W, 3) change from epoch to epoch: theta (n, …) for each.

    The last epoch stands still for a while before it begins anew.
    """
    last = len(warps)
    shown = [1 + index for index in spaced(last, _FRAMES)]
    frames = [_frame(draw_sheet(pixels, warps[number - 1], sampling), f"epoch {number} of {last}") for number in shown]
    # One palette for all and no dithering: what stays the same from frame to frame then costs nothing.
    palette = frames[-1].quantize(_COLOURS, dither=Image.Dither.NONE)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [_FRAME_MS] * (len(drawn) - 1) + [_LAST_MS]
    buffer = io.BytesIO()  # into a file, Pillow's encoder of GIF takes a part of a write for all of it
    drawn[0].save(buffer, format="GIF", save_all=True, append_images=drawn[1:], duration=times, loop=0, optimize=False)
    write_bytes(path, buffer.getvalue())


def draw_confusion(path: Path, scores: Scores, title: str) -> None:
    """Draw the confusion matrix: what each class was taken for, as shares of its images."""
    shares, classes = scores.shares(_CELLS), len(scores.labels)
    side = float(np.clip(0.3 * classes, 4.5, 12))
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    # The norm lets a few mistakes be seen; the extent numbers classes where several share a cell.
    edges = (-0.5, classes - 0.5, classes - 0.5, -0.5)
    image = axes.imshow(100 * shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), extent=edges)
    axes.set(
        xlabel="taken for",
        ylabel="class",
        title=f"{title}: {scores.top1_share:.1%} of {counted(scores.images, 'image')}",
    )
    if classes <= _NAMED:
        names = [label if len(label) <= 16 else f"{label[:15]}…" for label in scores.labels]
        names, families = drawable(names)
        rotation = 90 if max(map(len, names)) > 2 else 0
        axes.set_xticks(range(classes), names, rotation=rotation, family=families, parse_math=False)
        axes.set_yticks(range(classes), names, family=families, parse_math=False)
    if classes <= _COUNTED:
        for row, column, count in scores.cells.tolist():
            colour = "white" if shares[row, column] > 0.3 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, label="% of the class", shrink=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _frame(sheet: Image.Image, caption: str) -> Image.Image:
    framed = Image.new("RGB", (sheet.width, sheet.height + 16), "white")
    framed.paste(sheet, (0, 16))
    ImageDraw.Draw(framed).text((8, 4), caption, fill="black")
    return framed
