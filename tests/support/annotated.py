"""Small folders of annotated images: COCO's JSON, YOLO's text and Pascal VOC's XML, all of the same pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 40
NAMES = ("bus", "car")

Row: TypeAlias = tuple[int, tuple[float, float, float, float]]
"""Class, and left, top, right and bottom in pixels."""

SHOWN: dict[str, list[Row]] = {
    "a": [(0, (10, 10, 30, 30)), (1, (40, 4, 76, 20))],
    "b": [(1, (0, 0, 80, 40))],
    "c": [],
    "d": [(0, (50, 20, 60, 40))],
}
"""What each image of a split shows."""


def image(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(map(ord, str(path)))).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def coco_json(shown: Mapping[str, Sequence[Row]] = SHOWN) -> dict[str, Any]:
    rows = [(number, row) for number, name in enumerate(shown) for row in shown[name]]
    return {
        "images": [
            {"id": 10 + number, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(shown)
        ],
        "categories": [{"id": 7 * number, "name": name} for number, name in enumerate(("things", *NAMES))],
        "annotations": [
            {
                "id": number,
                "image_id": 10 + of,
                "category_id": 7 * (1 + label),
                "bbox": [left, top, right - left, bottom - top],
                "area": 1.5,
                "iscrowd": 0,
                "segmentation": [],
            }
            for number, (of, (label, (left, top, right, bottom))) in enumerate(rows)
        ],
    }


def roboflow(root: Path, splits: Sequence[str] = ("train", "valid", "test")) -> Path:
    """Write ROOT/{train,valid,test}/_annotations.coco.json with their images."""
    for split in splits:
        for name in SHOWN:
            image(root / split / f"{name}.jpg")
        (root / split / "_annotations.coco.json").write_text(json.dumps(coco_json()))
    return root


def official_coco(root: Path, splits: Sequence[str] = ("train2017", "val2017")) -> Path:
    """Write ROOT/annotations/instances_*.json, and images in folders next to it."""
    (root / "annotations").mkdir(parents=True)
    for split in splits:
        for name in SHOWN:
            image(root / split / f"{name}.jpg")
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(coco_json()))
    return root


def yolo_row(row: Row) -> str:
    label, (left, top, right, bottom) = row
    shares = (left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT
    return f"{label} " + " ".join(f"{share:.6f}" for share in shares)


def yolo(root: Path, splits: Sequence[str] = ("train", "val", "test")) -> Path:
    """Write ROOT/images/SPLIT, ROOT/labels/SPLIT and data.yaml."""
    for split in splits:
        for name, rows in SHOWN.items():
            image(root / "images" / split / f"{name}.jpg")
            text = root / "labels" / split / f"{name}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("\n".join(map(yolo_row, rows)))
    (root / "data.yaml").write_text("path: .\nnc: 2\nnames:\n  0: bus\n  1: car\n")
    return root


def voc_xml(name: str, rows: Sequence[Row]) -> str:
    objects = "".join(
        f"<object><name>{NAMES[label]}</name><difficult>0</difficult><bndbox><xmin>{left + 1}</xmin>"
        f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for label, (left, top, right, bottom) in rows
    )
    return (
        f'<?xml version="1.0"?>\n<annotation><filename>{name}.jpg</filename><size><width>{WIDTH}</width>'
        f"<height>{HEIGHT}</height><depth>3</depth></size>{objects}</annotation>"
    )


def voc(root: Path, splits: Sequence[str] = ("train", "val", "test")) -> Path:
    """Write ROOT/JPEGImages, ROOT/Annotations and ROOT/ImageSets/Main."""
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (root / "Annotations").mkdir()
    for split in splits:
        for name, rows in SHOWN.items():
            image(root / "JPEGImages" / f"{split}_{name}.jpg")
            (root / "Annotations" / f"{split}_{name}.xml").write_text(voc_xml(name, rows))
        (lists / f"{split}.txt").write_text("".join(f"{split}_{name}\n" for name in SHOWN))
    return root
