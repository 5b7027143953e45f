"""Folders of images, one for each class: the splits of `folder:PATH`, and of sets that were unpacked into that form."""

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lstn.data.folders.boxes import Boxes, read_boxes, read_poses, tables_of, warn_of_stray
from lstn.data.folders.checking import check_images, few_broken
from lstn.data.folders.division import Division, Files, divide, listed, split_files
from lstn.data.folders.layout import Layout, read_layout
from lstn.data.poses import Pose
from lstn.data.splits import SPLIT_NAMES, AnySplit, DataSet, SplitName
from lstn.errors import DataError, UsageError
from lstn.images import Pixels, decode
from lstn.imaging.framing import STRETCHED, Framing
from lstn.report.wording import counted
from lstn.terminal import warn, warn_once

KINDS_OF_IMAGES: dict[AnySplit, str] = {"train": "training", "val": "validation", "test": "test", "all": ""}


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """Image files and their labels, decoded when they are read.

    fingerprint: a hash of what is in the files, in their order, and of their labels; boxes are not part of it
    pixels:      (N, H, W, 3), where checking the files has decoded all of them and they fit into memory
    poses:       of the objects in them, where the folder has a table of boxes
    digests:     what is in each file
    framing:     how a photo becomes an image of this size
    broken:      which files do not decode and are left out, and why
    """

    files: tuple[tuple[Path, int], ...]
    image_hw: tuple[int, int]
    fingerprint: str
    pixels: Pixels | None = None
    poses: tuple[Pose | None, ...] = ()
    digests: tuple[bytes, ...] = ()
    framing: Framing = STRETCHED
    broken: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        path, label = self.files[index]
        if self.pixels is not None:
            return self.pixels[index].copy(), label
        return decode(path, self.image_hw, framing=self.framing), label

    def pose(self, index: int) -> Pose | None:
        """Where the box is that the folder's table names."""
        return self.poses[index] if self.poses else None

    def redrawn(self, epoch: int) -> "FolderSplit":
        """Files stay what they are."""
        return self


def open_folder(
    root: Path,
    image_hw: tuple[int, int],
    seed: int,
    *,
    labels: tuple[str, ...] | None = None,
    mirrors: bool = True,
    parts: str = "",
    framing: Framing = STRETCHED,
    tolerant: bool = False,
) -> DataSet:
    """Open ROOT/{train,val,test}/<class>/*, or ROOT/<class>/*, which is split 80/10/10 per class by `seed`.

    Without val/, a tenth of every class in train/ is held back for it. Without test/, the validation images are tested,
    with a warning. `labels` are the classes of a model that was trained: the folder may then have fewer, and only some
    of the splits. Without them the folder is to be trained on. A table of boxes, if there is one, says where
    the objects are (`lstn.data.folders.boxes`). `tolerant` splits have what decodes, however little.

    Raises:
        UsageError: no such folder.
        DataError: as `lstn.data.dataset.open_data` says.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: no such folder",
            hint="folder:PATH expects PATH/<class>/* or PATH/train/<class>/*; if it was moved: --data folder:NEW_PATH",
        )
    layout = read_layout(root)
    divided = divide(layout, labels or layout.labels, seed, lenient=labels is not None)
    boxes, boxed = _boxes(layout)
    unread = layout.skipped.describe_unread()
    single = "a single class: there is nothing to distinguish it from" if len(divided.labels) == 1 else ""
    for line in (*layout.warnings, *(f"{root}: {line}" for line in (unread, single) if line)):
        warn_once(line)
    untested = "test" not in divided.splits

    def readable(split: AnySplit) -> FolderSplit:
        files = split_files(divided, split)
        if tolerant:
            return decodable(files, split, image_hw, framing, tolerant=True)[0]
        return _readable(files, split, divided.labels, image_hw, boxes, framing)

    def open_split(split: SplitName) -> FolderSplit:
        if untested and split == "test":
            if "val" in divided.splits:
                lost = f"no {root / 'test'}"
                warn(f"{lost}: the validation images are tested, and these chose the epoch, which flatters it")
            split = "val"
        return readable(split)

    return DataSet(
        divided.labels,
        open_split,
        mirrors=mirrors,
        parts=parts or divided.parts,
        by_seed=divided.by_seed,
        test_is_val=untested,
        open_all=lambda: readable("all"),
        found="; ".join(filter(None, (_found(layout, divided, lenient=labels is not None), boxed))),
    )


def _boxes(layout: Layout) -> tuple[Boxes, str]:
    """Read the tables of boxes that a folder has; return the boxes, and how many images have one, in words."""
    classes = (*layout.splits.values(), layout.whole)
    files = [file for each in classes for listed_files in each.values() for file in listed_files]
    warn_of_stray(layout.root, files)
    tables = tables_of(layout.root, files if layout.skipped.unread[".csv"] else [])
    if not tables:
        return {}, ""
    boxes = read_boxes(tables, layout.root, files)
    layout.skipped.was_read([table for table in tables if table.parent != layout.root])
    return boxes, f"boxes for {len(boxes)} of {counted(len(files), 'image')}"


def _found(layout: Layout, divided: Division, *, lenient: bool) -> str:
    """Return what was found, in one line. Of a folder that is new to a model, no seed has divided anything."""
    names: tuple[AnySplit, ...] = ("all",) if lenient and layout.whole else SPLIT_NAMES
    splits = [(KINDS_OF_IMAGES[split], divided.splits[split]) for split in names if divided.splits.get(split)]
    kind, first = splits[0]
    *others, (last, tail) = splits
    counts = listed([*(f"{len(files)} {what}" for what, files in others), counted(len(tail), f"{last} image".strip())])
    images = Counter(label for _, label in first)
    line = f"{layout.root}: {counted(len(images), 'class')}; {counts}"
    if len(images) > 1:
        smallest = min(images, key=lambda label: (images[label], label))
        has = counted(images[smallest], f"{kind} image".strip())
        line += f"; the smallest class, {divided.labels[smallest]!r:.60}, has {has}"
    return "; ".join(filter(None, (line, layout.skipped.describe_rest())))


def decodable(
    files: Files,
    split: AnySplit,
    image_hw: tuple[int, int],
    framing: Framing = STRETCHED,
    *,
    tolerant: bool = False,
) -> tuple[FolderSplit, str]:
    """Decode every image once, so that a broken one is known before the first epoch and not in the middle of it.

    Return the images that decode, and which don't, in words.

    Raises:
        DataError: too many don't, and nobody is `tolerant` of that.
    """
    what = f"{KINDS_OF_IMAGES[split]} images".strip()
    checked, pixels = check_images([path for path, _ in files], image_hw, what, framing)
    broken = "" if tolerant else few_broken(checked, f"{split} image")
    lost = tuple(each.broken for each in checked if each.broken)
    good = [index for index, each in enumerate(checked) if not each.broken]
    if lost:
        pixels = None if pixels is None else np.ascontiguousarray(pixels[good])
    whole, digests = tuple(files[index] for index in good), tuple(checked[index].digest for index in good)
    both = b"".join(b"%d %b" % (label, digest) for (_, label), digest in zip(whole, digests, strict=True))
    found = FolderSplit(
        whole, image_hw, hashlib.sha256(both).hexdigest(), pixels=pixels, digests=digests, framing=framing, broken=lost
    )
    return found, broken


def _readable(
    files: Files, split: AnySplit, labels: tuple[str, ...], image_hw: tuple[int, int], boxes: Boxes, framing: Framing
) -> FolderSplit:
    """Return the images of a split that decode, with the poses of those that have a box."""
    found, broken = decodable(files, split, image_hw, framing)
    if split == "train" and (empty := {label for _, label in files} - {label for _, label in found.files}):
        raise DataError(
            f"class {labels[min(empty)]!r}: every training image is broken: {broken}",
            hint="repair them, or remove the class",
        )
    if broken:
        warn(broken)
    if not boxes:
        return found
    return replace(found, poses=read_poses([path for path, _ in found.files], boxes, image_hw, framing))
