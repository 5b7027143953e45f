"""Pictures with none, one or several coloured blocks, and a table of their colours: what a model tags after seconds."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
COLOURS = {"blue": (20, 20, 240), "green": (20, 220, 20), "red": (240, 20, 20)}


def tagged_blocks(root: Path, *, train: int = 160, test: int = 64) -> Path:
    """Write `train` training images, and `test` for each of validation and test, each split with its labels.csv."""
    random = np.random.default_rng(0)
    for split, count in {"train": train, "val": test, "test": test}.items():
        folder = root / split
        folder.mkdir(parents=True)
        rows = ["path,labels"]
        for number in range(count):
            pixels = random.integers(90, 150, (SIDE, SIDE, 3)).astype(np.uint8)
            shown = [name for name in COLOURS if random.random() < 0.4]
            for name in shown:
                x, y = random.integers(SIDE - 10, size=2).tolist()
                pixels[y : y + 10, x : x + 10] = COLOURS[name]
            Image.fromarray(pixels).save(folder / f"{number}.png")
            rows.append(f"{number}.png,{';'.join(shown)}")
        (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return root
