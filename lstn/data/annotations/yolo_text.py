"""YOLO's text: images/ next to labels/, a file of rows for each image, and names in data.yaml or classes.txt."""

import math
from pathlib import Path

from lstn.contract import MAX_LABELS
from lstn.data.annotations.annotated import AnnotatedImage, AnnotatedSet, MarkedBox, annotation_text, class_named
from lstn.data.annotations.yaml_names import names_of_yaml
from lstn.data.folders.layout import SPLIT_WORDS
from lstn.data.folders.listing import Skipped, images_below, scan
from lstn.data.splits import SplitName
from lstn.errors import DataError
from lstn.report.wording import counted

_MOST_BYTES = 16 << 20
"""Of a file."""

_SLACK = 0.01
"""How far from 0..1 a share is taken for one: beyond, the numbers are pixels."""

_UPRIGHT, _TURNED = 5, 9
"""Numbers in a row: the class, and middle and sides of an upright box; or the class, and four corners."""

_WANTED = "a row is: class x y width height; or class x1 y1 x2 y2 x3 y3 x4 y4; all but the class are shares, 0 to 1"


def read_yolo(root: Path) -> AnnotatedSet | None:
    """Read YOLO's text below a folder; None if it has no images/ next to labels/.

    An image whose file of rows is empty, or isn't there, shows no object.

    Raises:
        DataError: there are no names; or a row is not a box, or of a class that has no name.
    """
    folders = _folders(root)
    if not folders:
        return None
    names = _names(root)
    made = AnnotatedSet(root, "YOLO", tuple(names))
    skipped = Skipped()
    empty = 0
    for split, (images, labels) in folders.items():
        made.splits[split] = []
        for path in images_below(images, skipped):
            rows = labels / path.relative_to(images).with_suffix(".txt")
            boxes = _boxes(rows, names) if rows.exists() else ()
            empty += not rows.exists()
            made.splits[split].append(AnnotatedImage(path, boxes, rows, in_pixels=False))
    if empty:
        made.notes.append(f"{counted(empty, 'image', 'have')} no file in labels/")
    if left_out := skipped.describe():
        made.notes.append(left_out)
    return made


def _folders(root: Path) -> dict[SplitName, tuple[Path, Path]]:
    """Return the folders of images and of rows of each split: images/train, train/images, or images alone.

    Raises:
        DataError: two are for one split.
    """
    images, labels = root / "images", root / "labels"
    found: dict[SplitName, tuple[Path, Path]] = {}
    if images.is_dir() and labels.is_dir():
        pairs = [(folder.name, folder, labels / folder.name) for folder in scan(images, Skipped())[0]]
    else:
        inner = [folder for folder in scan(root, Skipped())[0] if (folder / "images").is_dir()]
        pairs = [(each.name, each / "images", each / "labels") for each in inner if (each / "labels").is_dir()]
    for name, image_folder, label_folder in pairs:
        split = SPLIT_WORDS.get(name.lower().rstrip("0123456789"))
        if split is None:
            continue
        if split in found:
            raise DataError(f"{found[split][0]} and {image_folder} both are {split}", hint="keep one of them")
        found[split] = image_folder, label_folder
    if not found and images.is_dir() and labels.is_dir():
        return {"train": (images, labels)}
    return found


def _names(root: Path) -> list[str]:
    """Return the names of the classes by their numbers."""
    for name in ("data.yaml", "data.yml"):
        if (path := root / name).exists():
            try:
                names = names_of_yaml(annotation_text(path, most=_MOST_BYTES))
            except ValueError as error:
                raise DataError(f"{path}: {error}", hint="write names: [first, second], in one line") from error
            break
    else:
        at = [path for path in (root / "classes.txt", root / "labels" / "classes.txt") if path.exists()]
        if not at:
            raise DataError(
                f"{root}: no data.yaml and no classes.txt, so classes have no names",
                hint=f"write {root / 'data.yaml'} with names: [first, second]",
            )
        path = at[0]
        names = [line for line in annotation_text(path, most=_MOST_BYTES).splitlines() if line.strip()]
    plain = [class_named(name, str(path)) for name in names]
    if not 0 < len(plain) <= MAX_LABELS:
        raise DataError(f"{path}: {counted(len(plain), 'class')}; a model has 1 to {MAX_LABELS}")
    if len(set(plain)) < len(plain):
        twin = next(name for name in plain if plain.count(name) > 1)
        raise DataError(f"{path}: two classes have the name {twin!r:.60}", hint="give each a name of its own")
    return plain


def _boxes(path: Path, names: list[str]) -> tuple[MarkedBox, ...]:
    lines = annotation_text(path, most=_MOST_BYTES).splitlines()
    return tuple(_box(line.split(), names, path, number) for number, line in enumerate(lines, 1) if line.strip())


def _box(words: list[str], names: list[str], path: Path, line: int) -> MarkedBox:
    """Return the box that a row says.

    Raises:
        DataError: it isn't one.
    """
    place = f"{path}, line {line}"
    if len(words) not in (_UPRIGHT, _TURNED):
        raise DataError(f"{place}: {counted(len(words), 'value')}; expected {_UPRIGHT} or {_TURNED}", hint=_WANTED)
    values = [_number(word, place) for word in words]
    if not 0 <= values[0] < len(names) or values[0] % 1:
        raise DataError(
            f"{place}: class {words[0][:40]} is unknown; there are {counted(len(names), 'class')}, from 0 on",
            hint="add its name to the others, or remove the row",
        )
    shares = values[1:]
    if not all(-_SLACK <= share <= 1 + _SLACK for share in shares):
        far = next(share for share in shares if not -_SLACK <= share <= 1 + _SLACK)
        raise DataError(f"{place}: {far:g} is not a share of the picture, 0 to 1", hint=_WANTED)
    if len(words) == _UPRIGHT:
        x, y, wide, high = shares
        shares = [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]
    return MarkedBox(names[int(values[0])], tuple(shares), f"line {line}")


def _number(word: str, place: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: {word!r:.40} is not a number", hint=_WANTED)
    return value
