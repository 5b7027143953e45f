"""What a person looks at after a run: curves.png and warps.png."""

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from lstn.data import Split
from lstn.files import replacing, write_bytes
from lstn.train.model import Classifier
from lstn.train.state import Epoch
from lstn.warp import contact_sheet, draw_warp

CURVES, WARPS = "curves.png", "warps.png"


def draw_curves(path: Path, history: tuple[Epoch, ...], title: str) -> None:
    """Draw loss and accuracy over the epochs."""
    epochs = [row["epoch"] for row in history]
    best = max(history, key=lambda row: row["val_accuracy"])
    figure = Figure(figsize=(9, 3.6), dpi=120, layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    losses.plot(epochs, [row["train_loss"] for row in history], label="train")
    losses.plot(epochs, [row["val_loss"] for row in history], label="validation")
    losses.set(xlabel="epoch", ylabel="cross-entropy (nats)", title=title, ylim=(0, None))
    accuracies.plot(epochs, [100 * row["train_accuracy"] for row in history], label="train")
    accuracies.plot(epochs, [100 * row["val_accuracy"] for row in history], label="validation")
    accuracies.plot(best["epoch"], 100 * best["val_accuracy"], "o", color="C1", label="best")
    accuracies.set(
        xlabel="epoch", ylabel="accuracy (%)", title=f"best {best['val_accuracy']:.1%} in epoch {best['epoch']}"
    )
    for axes in (losses, accuracies):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


@torch.no_grad()
def draw_warps(path: Path, model: Classifier, images: Split, *, count: int = 16) -> None:
    """Draw `count` inputs with the quadrilateral that the transformer chose, each beside the crop that it makes."""
    model.eval()
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    pixels = np.stack([images[int(index)][0] for index in chosen])
    _, theta = model.transform(torch.from_numpy(pixels))
    if theta is None:
        raise ValueError("a model without a localizer has no warps to draw")
    pairs = zip(pixels, theta.numpy(), strict=True)
    sheet = contact_sheet([draw_warp(image, matrix, side=112) for image, matrix in pairs])
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")
