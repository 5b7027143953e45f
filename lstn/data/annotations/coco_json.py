"""COCO's JSON: ROOT/{train,valid,test}/_annotations.coco.json, or ROOT/annotations/instances_*.json."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from lstn.data.annotations.annotated import (
    AnnotatedImage,
    AnnotatedSet,
    MarkedBox,
    annotation_bytes,
    class_named,
    path_below,
)
from lstn.data.folders.layout import SPLIT_WORDS
from lstn.data.splits import SplitName
from lstn.errors import DataError
from lstn.report.wording import counted
from lstn.untrusted.checked_json import Count, Finite, checked, parsed

_MOST_BYTES = 1 << 30
"""Of a file: COCO's own has 450 MB."""

_ROBOFLOW = "_annotations.coco.json"
_OFFICIAL = re.compile(r"instances_((train|val|test).*)\.json")


@dataclass(frozen=True, slots=True)
class _CocoImage:
    id: int
    file_name: str
    width: Count
    height: Count


@dataclass(frozen=True, slots=True)
class _CocoAnnotation:
    """bbox: left, top, width and height in pixels."""

    image_id: int
    category_id: int
    bbox: Annotated[tuple[Finite, ...], Meta(min_length=4, max_length=4)]
    iscrowd: int | bool = 0


@dataclass(frozen=True, slots=True)
class _CocoCategory:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class _CocoFile:
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]
    categories: list[_CocoCategory]


def coco_files(root: Path) -> dict[SplitName, tuple[Path, Path]]:
    """Return the files of annotations that a folder has, each with the folder of its images.

    Raises:
        DataError: two are for one split.
    """
    found: dict[SplitName, tuple[Path, Path]] = {}
    for path in sorted(root.glob(f"*/{_ROBOFLOW}")):
        if (split := SPLIT_WORDS.get(path.parent.name.lower())) is not None:
            _add(found, split, path, path.parent)
    if found:
        return found
    for path in sorted(root.glob("annotations/instances_*.json")):
        if match := _OFFICIAL.fullmatch(path.name):
            images = next((at for at in (root / match[1], root / "images" / match[1]) if at.is_dir()), None)
            if images is None:
                raise DataError(
                    f"{path}: there is no folder {match[1]}/ with its images",
                    hint=f"put them into {root / match[1]}, or remove the file",
                )
            _add(found, SPLIT_WORDS[match[2]], path, images)
    return found


def _add(found: dict[SplitName, tuple[Path, Path]], split: SplitName, path: Path, images: Path) -> None:
    if split in found:
        raise DataError(f"{found[split][0]} and {path} both are {split}", hint="keep one of them")
    found[split] = path, images


def read_coco(root: Path) -> AnnotatedSet | None:
    """Read COCO's JSON below a folder; None if there is none.

    "Crowd" boxes, which are around many objects at once, are left out.

    Raises:
        DataError: a file can't be read, is not of this form, or names images or classes that it does not have.
    """
    files = coco_files(root)
    if not files:
        return None
    made = AnnotatedSet(root, "COCO", ())
    crowds = 0
    for split, (path, images) in files.items():
        classes, made.splits[split], left_out = _read(path, images)
        made.classes = tuple(dict.fromkeys((*made.classes, *classes)))
        crowds += left_out
    if crowds:
        made.notes.append(f"{counted(crowds, 'crowd box', 'are')} left out")
    return made


def _read(path: Path, folder: Path) -> tuple[list[str], list[AnnotatedImage], int]:
    """Return the classes of a file in the order of their numbers, its images, and how many crowds it has."""
    try:
        file = checked(parsed(annotation_bytes(path, most=_MOST_BYTES)), _CocoFile)
    except ValueError as error:  # of JSON that isn't UTF-8, too
        raise DataError(
            f"{path}: not COCO's JSON ({error!s:.300})",
            hint="expected an object with the lists images, annotations and categories",
        ) from error
    classes = {each.id: class_named(each.name, f"{path}, category {each.id}") for each in file.categories}
    _refuse_twins(path, "category", [each.id for each in file.categories])
    _refuse_twins(path, "the name of a category", list(classes.values()))
    _refuse_twins(path, "image", [each.id for each in file.images])
    _refuse_twins(path, "image", [each.file_name for each in file.images])
    known = {each.id for each in file.images}
    boxes: dict[int, list[MarkedBox]] = defaultdict(list)
    crowds = 0
    for number, each in enumerate(file.annotations):
        for what, there, wanted in (("image", each.image_id, known), ("category", each.category_id, classes)):
            if there not in wanted:
                raise DataError(
                    f"{path}: annotations[{number}] is of {what} {there}, which the file does not have",
                    hint=f"add the {what}, or remove the annotation",
                )
        if each.iscrowd:
            crowds += 1
            continue
        left, top, wide, high = each.bbox
        boxes[each.image_id].append(
            MarkedBox(classes[each.category_id], (left, top, left + wide, top + high), f"annotations[{number}]")
        )
    images = [
        AnnotatedImage(
            path_below(folder, each.file_name, f"{path}, image {each.id}"),
            tuple(boxes.get(each.id, ())),
            path,
            (each.width, each.height),
        )
        for each in file.images
    ]
    return [classes[number] for number in sorted(classes)], images, crowds


def _refuse_twins(path: Path, what: str, values: list[int] | list[str]) -> None:
    if len(set(values)) < len(values):
        seen: set[object] = set()
        twin = next(value for value in values if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: {what} {twin!r:.80} stands twice", hint="keep one of them")
