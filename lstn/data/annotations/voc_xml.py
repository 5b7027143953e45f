"""Pascal VOC's XML: JPEGImages/, Annotations/*.xml, and the splits in ImageSets/Main/*.txt."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from lstn.data.annotations.annotated import (
    AnnotatedImage,
    AnnotatedSet,
    MarkedBox,
    annotation_bytes,
    annotation_text,
    class_named,
    path_below,
)
from lstn.data.folders.listing import Skipped, images_below
from lstn.data.splits import SPLIT_NAMES, SplitName
from lstn.errors import DataError

_MOST_BYTES = 4 << 20
"""Of a file of XML; one of a few objects has 2 kB."""

_MOST_LISTED = 256 << 20
"""Of a file that lists the images of a split."""


def read_voc(root: Path) -> AnnotatedSet | None:
    """Read Pascal VOC's XML below a folder; None if it has no JPEGImages/ next to Annotations/.

    Objects that are marked as difficult are objects as others are. Without lists of splits all images are for training.

    Raises:
        DataError: a list or a file of XML can't be read, is not of this form, or names an image that isn't there.
    """
    if not ((root / "JPEGImages").is_dir() and (root / "Annotations").is_dir()):
        return None
    skipped = Skipped()
    files = {path.relative_to(root / "JPEGImages").with_suffix("").as_posix(): path
             for path in images_below(root / "JPEGImages", skipped)}  # fmt: skip
    made = AnnotatedSet(root, "Pascal VOC", ())
    for split, names in _listed(root, files).items():
        made.splits[split] = [_image(root, name, files) for name in names]
    labels = {box.label for images in made.splits.values() for image in images for box in image.boxes}
    made.classes = tuple(sorted(labels))
    if left_out := skipped.describe():
        made.notes.append(left_out)
    return made


def _listed(root: Path, files: dict[str, Path]) -> dict[SplitName, list[str]]:
    """Return the names of the images of each split; trainval.txt is read where there is no train.txt."""
    found: dict[SplitName, list[str]] = {}
    for split in SPLIT_NAMES:
        for name in (split, "trainval") if split == "train" else (split,):
            path = root / "ImageSets" / "Main" / f"{name}.txt"
            if path.exists():
                lines = annotation_text(path, most=_MOST_LISTED).splitlines()
                found[split] = [line.strip() for line in lines if line.strip()]
                _check_listed(path, found[split], files)
                break
    return found or {"train": sorted(files)}


def _check_listed(path: Path, names: list[str], files: dict[str, Path]) -> None:
    lost = next((name for name in names if name not in files), None)
    if lost is not None:
        raise DataError(f"{path}: there is no image {lost!r:.80} in JPEGImages/", hint="add it, or remove the line")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twin = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(f"{path}: {twin!r:.80} stands twice", hint="keep one line of it")


def _image(root: Path, name: str, files: dict[str, Path]) -> AnnotatedImage:
    path = path_below(root / "Annotations", f"{name}.xml", str(root))
    top = _parsed(path)
    boxes = tuple(_boxes(top, path))
    wide, high = (_number(top, f"size/{side}", path, missing=0.0) for side in ("width", "height"))
    return AnnotatedImage(files[name], boxes, path, (int(wide), int(high)) if wide and high else None)


def _boxes(top: Element, path: Path) -> Iterator[MarkedBox]:
    for number, each in enumerate(top.findall("object"), 1):
        place = f"{path}, object {number}"
        label = class_named(each.findtext("name", ""), place)
        left, upper, right, lower = (
            _number(each, f"bndbox/{side}", place) for side in ("xmin", "ymin", "xmax", "ymax")
        )
        # The first pixel has the number 1, and the last one is inside: VOC2007's development kit, section 4.
        yield MarkedBox(label, (left - 1, upper - 1, right, lower), f"object {number}")


def _number(of: Element, name: str, place: object, *, missing: float | None = None) -> float:
    text = of.findtext(name)
    if text is None and missing is not None:
        return missing
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        found = "is not there" if text is None else f"is {text.strip()!r:.40}, not a number"
        raise DataError(f"{place}: {name} {found}", hint="a box has xmin, ymin, xmax and ymax, in pixels")
    return value


class _PlainTree(TreeBuilder):
    """A tree of elements. A document type is refused where it begins: entities are defined in one."""

    def doctype(self, name: str, public: str | None, system: str | None) -> NoReturn:
        raise ValueError("it has a document type, which may hide what it holds")


def _parsed(path: Path) -> Element:
    parser = XMLParser(target=_PlainTree())
    try:
        parser.feed(annotation_bytes(path, most=_MOST_BYTES))
        top: Element = parser.close()
    except (ParseError, ValueError, LookupError) as error:  # of an encoding that nobody knows, the last
        raise DataError(
            f"{path}: not an XML file of annotations ({error!s:.200})", hint="save it again, or remove its image"
        ) from error
    if top.tag != "annotation":
        raise DataError(f"{path}: the outermost element is {top.tag!r:.40}; expected annotation")
    return top
