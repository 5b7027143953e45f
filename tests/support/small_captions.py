"""Captions of coloured blocks in COCO's JSON: what a model that reads words learns in seconds."""

import json
from pathlib import Path

from small_texts import HW, block_texts

NAMES = {"b": "blue", "g": "green", "r": "red"}
WORDS = ("blue", "green", "red", "then", "<unknown>")
MOST = 5

__all__ = ["HW", "MOST", "NAMES", "WORDS", "block_captions", "caption_of"]


def caption_of(text: str, times: int = 0) -> str:
    """A caption of blocks such as `br`, said in two ways that have the same words."""
    said = ", then ".join(NAMES[symbol] for symbol in text)
    return f"{said.capitalize()}." if times % 2 == 0 else said.upper()


def block_captions(root: Path, *, images: int = 200) -> Path:
    """Write images of one to three blocks in a row, and a file of two captions of each; return the file."""
    block_texts(root, train=images, test=1)
    rows = (root / "train/labels.csv").read_text().splitlines()[1:]
    texts = [row.split(",")[1] for row in rows]
    said = {
        "info": {"year": 2026},
        "images": [{"id": 7 + number, "file_name": f"{number}.png", "license": 1} for number in range(images)],
        "annotations": [
            {"id": 2 * number + times, "image_id": 7 + number, "caption": caption_of(text, times)}
            for number, text in enumerate(texts)
            for times in (0, 1)
        ],
    }
    (root / "captions.json").write_text(json.dumps(said))
    return root / "captions.json"
