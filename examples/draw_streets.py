"""Draw streets with none, one or several signs, and the table of their labels, to train a model that tags.

    python examples/draw_streets.py streets
    lstn train --task tag --loc none --model cnn --image-size 48 --data folder:streets --epochs 10

Without an argument it draws a few and shows the table.
"""

import csv
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from own_images import COLOURS, CORNERS, LABELS
from PIL import Image, ImageDraw


def draw_street(labels: list[int], random: np.random.Generator) -> Image.Image:
    """Draw these signs in a gray picture of 96 x 96, each at its own height, at any place and size."""
    picture = Image.fromarray(random.integers(60, 180, (96, 96, 3), dtype=np.uint8))
    for row, label in zip(random.permutation(3), labels, strict=False):
        x, y = float(random.uniform(14, 82)), 16.0 + 32.0 * float(row)
        circle, turn = (x, y, float(random.uniform(9, 14))), float(random.uniform(-45, 45))
        ImageDraw.Draw(picture).regular_polygon(circle, CORNERS[label], turn, COLOURS[label], "white")
    return picture


def draw_streets(folder: Path, count: int) -> Path:
    """Write pictures, and folder/labels.csv: path, and the labels with semicolons between them. Return the table."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "labels"])
        for number in range(count):
            shown = [label for label in range(len(LABELS)) if random.random() < 0.4]
            draw_street(shown, random).save(folder / f"{number:04}.png")
            table.writerow([f"{number:04}.png", ";".join(LABELS[label] for label in shown)])
    return path


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(draw_streets(Path(sys.argv[1]), 1000))
    else:
        with TemporaryDirectory() as temporary:
            print(draw_streets(Path(temporary) / "streets", 8).read_text())
