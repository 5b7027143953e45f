"""Pictures of red and blue rectangles on gray noise, with COCO's annotations: what a detector learns in seconds."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
COLOURS = {"red": (230, 40, 40), "blue": (40, 60, 230)}


def coloured_squares(root: Path, *, train: int = 96, test: int = 32) -> Path:
    """Write `train` training images, and `test` for each of validation and test, of one or two rectangles each."""
    random = np.random.default_rng(0)
    for split, count in {"train": train, "val": test, "test": test}.items():
        folder = root / split
        folder.mkdir(parents=True)
        rows: list[dict[str, object]] = []
        for number in range(count):
            pixels = random.integers(90, 150, (SIDE, SIDE, 3)).astype(np.uint8)
            for _ in range(random.integers(1, 3)):
                width, height = random.integers(14, 30, 2).tolist()
                x, y = int(random.integers(SIDE - width)), int(random.integers(SIDE - height))
                kind = int(random.integers(2))
                pixels[y : y + height, x : x + width] = list(COLOURS.values())[kind]
                box = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
                rows.append({"id": len(rows) + 1, "image_id": number, "category_id": kind + 1, **box})
            Image.fromarray(pixels).save(folder / f"{number}.png")
        named = {"width": SIDE, "height": SIDE}
        images = [{"id": number, "file_name": f"{number}.png", **named} for number in range(count)]
        kinds = [{"id": number, "name": name} for number, name in enumerate(COLOURS, 1)]
        text = json.dumps({"images": images, "annotations": rows, "categories": kinds})
        (folder / "_annotations.coco.json").write_text(text)
    return root
