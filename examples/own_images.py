"""What the other examples share: images of one's own, here signs that are drawn, and a small model of them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import lstn

SIDE = 32
LABELS = ("give way", "parking", "stop")
COLOURS = ("gold", "royalblue", "crimson")
CORNERS = (3, 4, 8)


def draw_sign(label: int, random: np.random.Generator) -> Image.Image:
    """Draw a sign somewhere in a gray picture, turned by up to 45 degrees: an RGB image of 64 x 64."""
    picture = Image.fromarray(random.integers(60, 180, (64, 64, 3), dtype=np.uint8))
    x, y = random.uniform(22, 42, 2)
    circle = (float(x), float(y), float(random.uniform(12, 20)))
    turn = float(random.uniform(-45, 45))
    ImageDraw.Draw(picture).regular_polygon(circle, CORNERS[label], turn, COLOURS[label], "white")
    return picture


def sign_folder(folder: Path, *, each: int) -> Path:
    """Write `each` signs of every class as folder/CLASS/NUMBER.png, as your photos may lie."""
    random = np.random.default_rng(0)
    for label, name in enumerate(LABELS):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            draw_sign(label, random).save(folder / name / f"{number}.png")
    return folder


def small_model(photos: Path, folder: Path) -> Path:
    """Train a small classifier behind L-STN on a folder of images, and return its ONNX file."""
    model = lstn.nn.Classifier(lstn.Contract(lstn.Loc.LSTN, "cnn", (SIDE, SIDE), LABELS))
    lstn.fit(model, photos, folder / "run", epochs=5, device="cpu")
    lstn.export_onnx(model, folder / "model.onnx")
    return folder / "model.onnx"
