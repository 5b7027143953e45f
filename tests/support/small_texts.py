"""Texts of coloured blocks on gray noise, with a table of texts and boxes: what a reader learns in seconds."""

from pathlib import Path

import numpy as np
from PIL import Image

HW = (32, 64)
COLOURS = {"b": (40, 60, 230), "g": (40, 200, 60), "r": (230, 40, 40)}
MOST = 3


def block_texts(root: Path, *, train: int = 160, test: int = 32, boxes: bool = True) -> Path:
    """Write `train` training images, and `test` for each of validation and test, of one to three blocks in a row."""
    random = np.random.default_rng(0)
    for split, count in {"train": train, "val": test, "test": test}.items():
        folder = root / split
        folder.mkdir(parents=True)
        rows = ["path,text,boxes" if boxes else "path,text"]
        for number in range(count):
            pixels = random.integers(90, 150, (*HW, 3)).astype(np.uint8)
            text = "".join(random.choice(list(COLOURS), random.integers(1, MOST + 1)))
            left, places = int(random.integers(0, 6)), []
            for symbol in text:
                top, side = int(random.integers(2, 14)), int(random.integers(12, 16))
                pixels[top : top + side, left : left + side] = COLOURS[symbol]
                places.append(f"{left} {top} {left + side} {top + side}")
                left += side + int(random.integers(2, 5))
            Image.fromarray(pixels).save(folder / f"{number}.png")
            rows.append(f"{number}.png,{text}" + (f",{'; '.join(places)}" if boxes else ""))
        (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return root
