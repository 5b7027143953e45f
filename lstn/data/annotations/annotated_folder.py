"""Folders of annotated images: the splits of `folder:PATH` for detection, whatever tool wrote the annotations."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from lstn.contract import MAX_LABELS
from lstn.data.annotations.annotated import AnnotatedImage, AnnotatedSet
from lstn.data.annotations.coco_json import read_coco
from lstn.data.annotations.voc_xml import read_voc
from lstn.data.annotations.yolo_text import read_yolo
from lstn.data.folders.checking import MAX_BROKEN
from lstn.data.folders.class_folders import KINDS_OF_IMAGES, FolderSplit, decodable
from lstn.data.folders.division import held_back, listed
from lstn.data.objects import Objects
from lstn.data.splits import SPLIT_NAMES, AnySplit, DataSet, SplitName
from lstn.errors import DataError, UsageError
from lstn.images import Pixels, shown_hw
from lstn.report.wording import agreeing, counted
from lstn.terminal import warn, warn_once

_READERS = (read_coco, read_yolo, read_voc)
"""Of a folder that has several kinds of annotations, the first is read."""

_WANTED = (
    "expected COCO's JSON (annotations/instances_train*.json or train/_annotations.coco.json), YOLO's images/ next to "
    "labels/, or Pascal VOC's JPEGImages/ next to Annotations/"
)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedSplit:
    """Image files, decoded when they are read, and the objects in them.

    fingerprint: a hash of what is in the files, in their order, and of the objects
    """

    images: FolderSplit
    known: tuple[Objects, ...]
    fingerprint: str

    @staticmethod
    def of(images: FolderSplit, known: tuple[Objects, ...]) -> "AnnotatedSplit":
        """Put images and what is in each together; the fingerprint is of both."""
        digest = hashlib.sha256(images.fingerprint.encode())
        for objects in known:
            digest.update(b"%d" % len(objects) + objects.labels.tobytes() + objects.thetas.tobytes())
        return AnnotatedSplit(images, known, digest.hexdigest())

    @property
    def files(self) -> tuple[tuple[Path, int], ...]:
        """The files, and the class of the first object in each, or 0."""
        return self.images.files

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self.images[index]

    def objects(self, index: int) -> Objects:
        """Return the objects in image `index`."""
        return self.known[index]

    def redrawn(self, epoch: int) -> "AnnotatedSplit":
        """Files stay what they are."""
        return self


@dataclass(frozen=True, slots=True)
class _Divided:
    """Annotated images by split. by_seed: the splits that the seed decides; parts: how, in words."""

    splits: dict[SplitName, list[AnnotatedImage]]
    by_seed: frozenset[SplitName]
    parts: str


def open_annotated(
    root: Path, image_hw: tuple[int, int], seed: int, *, labels: tuple[str, ...] | None = None, wanted: str = _WANTED
) -> DataSet:
    """Open a folder with COCO's, YOLO's or Pascal VOC's annotations.

    Without validation images, a tenth of those for training is held back by `seed`. Without test images, the validation
    images are tested, with a warning. The classes are those that training images show, in the order of the files.

    labels: the classes of a model that was trained: the folder may have fewer, and only some splits; None: to train on
    wanted: what to say of a folder without annotations

    Raises:
        UsageError: no such folder.
        DataError: no annotations, or damaged ones; no training images, or no object in them; a class that training
            images don't show. When a split is opened: too many broken images or boxes.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint="if it was moved: --data folder:NEW_PATH")
    found = next((each for each in (read(root) for read in _READERS) if each is not None), None)
    if found is None:
        raise DataError(f"{root}: no annotations of objects", hint=wanted)
    _drop_repeats(found)
    lenient = labels is not None
    if not lenient and "train" not in found.splits:
        there = listed([split for split in SPLIT_NAMES if split in found.splits])
        raise DataError(f"{root}: there are annotations for {there} but none for train", hint=_WANTED)
    classes = labels or _shown(found)
    _refuse_strange(found, classes, lenient=lenient)
    divided = _divide(found, seed, lenient=lenient)
    numbers = {label: number for number, label in enumerate(classes)}
    untested = "test" not in divided.splits

    def open_split(split: SplitName) -> AnnotatedSplit:
        if untested and split == "test":
            warn(
                f"{root}: no test images: those for validation are tested, and these chose the epoch, which flatters it"
            )
            split = "val"
        return _opened(root, divided.splits.get(split, []), split, numbers, image_hw)

    every = [image for images in divided.splits.values() for image in images]
    return DataSet(
        classes,
        open_split,
        parts=divided.parts,
        by_seed=divided.by_seed,
        test_is_val=untested,
        open_all=lambda: _opened(root, every, "all", numbers, image_hw),
        found=_described(found, divided, classes),
    )


def _drop_repeats(found: AnnotatedSet) -> None:
    """Count a box that an image has twice, of one class, once: as two objects, one of them could never be found."""
    repeats = []
    for split, images in found.splits.items():
        for number, image in enumerate(images):
            once = {(box.label, box.values): box for box in reversed(image.boxes)}  # the first of each stays
            if len(once) < len(image.boxes):
                kept = tuple(box for box in image.boxes if once[box.label, box.values] is box)
                repeats += [f"{image.source}, {box.row}" for box in image.boxes if box not in kept]
                found.splits[split][number] = replace(image, boxes=kept)
    if repeats:
        boxes = counted(len(repeats), "box", "are")
        warn_once(f"{found.root}: {boxes} there a second time, and counted once: {_few(repeats, '; ')}")


def _shown(found: AnnotatedSet) -> tuple[str, ...]:
    """Return the classes that training images show, and warn of others that have a name."""
    shown = _labels_of(found.splits["train"])
    if not shown:
        raise DataError(f"{found.root}: no training image shows an object", hint="draw boxes around some")
    if len(shown) > MAX_LABELS:
        raise DataError(f"{found.root}: {counted(len(shown), 'class')}; a model has {MAX_LABELS} classes at most")
    unseen = [label for label in found.classes if label not in shown]
    if unseen:
        warn_once(
            f"{found.root}: no training image shows {_few([repr(label) for label in unseen])}: "
            f"{counted(len(unseen), 'class', 'are')} left out"
        )
    return tuple(label for label in found.classes if label in shown)


def _labels_of(images: Sequence[AnnotatedImage]) -> set[str]:
    return {box.label for image in images for box in image.boxes}


def _refuse_strange(found: AnnotatedSet, classes: tuple[str, ...], *, lenient: bool) -> None:
    known = set(classes)
    for split, images in found.splits.items():
        if strange := sorted(_labels_of(images) - known):
            whose = "one of the model's" if lenient else "in the training images, which show"
            raise DataError(
                f"{found.root}: class {strange[0]!r:.60} of {split} is not {whose} {counted(len(classes), 'class')}",
                hint="name a folder that shows no other classes" if lenient else "add images of it to train",
            )


def _divide(found: AnnotatedSet, seed: int, *, lenient: bool) -> _Divided:
    splits = dict(found.splits)
    ordered = listed([split for split in SPLIT_NAMES if split in splits])
    parts = f"as the annotations of {ordered} say"
    if "val" in splits or "train" not in splits or (lenient and len(splits["train"]) < 2):
        untested = "" if "test" in splits else "; without test images, those of val are tested"
        return _Divided(splits, frozenset(), parts + untested)
    by_path = {image.path: image for image in splits["train"]}
    if len(by_path) < 2:
        raise DataError(
            f"{found.root}: {counted(len(by_path), 'training image')}, too few to hold one back for validation",
            hint="add validation images",
        )
    rest, tenth = held_back("", sorted(by_path), seed)
    splits |= {"train": [by_path[path] for path in rest], "val": [by_path[path] for path in tenth]}
    by_seed: frozenset[SplitName] = frozenset(("train", "val") if "test" in splits else SPLIT_NAMES)
    return _Divided(splits, by_seed, f"{parts}; a tenth of train for validation, seed {seed}")


def _opened(
    root: Path, images: list[AnnotatedImage], split: AnySplit, numbers: dict[str, int], image_hw: tuple[int, int]
) -> AnnotatedSplit:
    """Check every image and every box of a split."""
    if not images:
        raise DataError(f"{root}: no {split} images", hint="name another split, or annotate some")
    by_path = {image.path: image for image in images}
    firsts = [(each.path, numbers[each.boxes[0].label] if each.boxes else 0) for each in by_path.values()]
    decoded, broken = decodable(firsts, split, image_hw)
    if broken:
        warn(broken)
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda each: by_path[each[0]].objects(numbers, shown_hw(each[0])), decoded.files))
    _warn_of_boxes([fault for _, faults in read for fault in faults], sum(len(each.boxes) for each in images))
    return AnnotatedSplit.of(decoded, tuple(objects for objects, _ in read))


def _warn_of_boxes(faults: list[str], boxes: int) -> None:
    """Say which boxes are left out.

    Raises:
        DataError: they are too many to go on without them.
    """
    if not faults:
        return
    said = f"{len(faults)} of {counted(boxes, 'box')} {agreeing(len(faults), 'are')} broken"
    if len(faults) > MAX_BROKEN * boxes:
        raise DataError(f"{said}, more than {MAX_BROKEN:.0%}: {_few(faults, '; ')}", hint="repair or remove them")
    warn(f"{said} and left out: {_few(faults, '; ')}")


def _few(words: Sequence[str], between: str = ", ", most: int = 5) -> str:
    return between.join(words[:most]) + (f"{between}and {len(words) - most} more" if len(words) > most else "")


def _described(found: AnnotatedSet, divided: _Divided, classes: tuple[str, ...]) -> str:
    """Return what was found, in one line."""
    counts = [
        counted(len(divided.splits[split]), f"{KINDS_OF_IMAGES[split]} image")
        for split in SPLIT_NAMES
        if divided.splits.get(split)
    ]
    images = [image for each in divided.splits.values() for image in each]
    shown = Counter(box.label for image in images for box in image.boxes)
    empty = sum(not image.boxes for image in images)
    line = f"{found.root}: {found.kind}; {counted(len(classes), 'class')}; {listed(counts)}"
    line += f" with {counted(shown.total(), 'object')}"
    if len(shown) > 1:
        rarest = min(shown, key=lambda label: (shown[label], label))
        line += f"; the rarest class, {rarest!r:.60}, has {shown[rarest]}"
    if empty:
        line += f"; {counted(empty, 'image')} without an object"
    return "; ".join([line, *found.notes])
