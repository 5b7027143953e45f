"""Folders of images, one for each class: the splits of `folder:PATH`, and of sets that were unpacked into that form."""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lstn.checking import check_images
from lstn.errors import DataError, UsageError
from lstn.images import Pixels, decode
from lstn.layout import Classes, Layout, read_layout
from lstn.splits import SPLIT_NAMES, DataSet, SplitName
from lstn.terminal import warn, warn_once

MAX_BROKEN = 0.05
"""A split with a larger share of images that don't decode is refused."""

_Files: TypeAlias = list[tuple[Path, int]]

_KINDS: dict[SplitName, str] = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """Image files and their labels, decoded when they are read.

    fingerprint: a hash of what is in the files, in their order, and of their labels
    pixels:      (N, H, W, 3), where checking the files has decoded all of them and they fit into memory
    """

    files: tuple[tuple[Path, int], ...]
    image_hw: tuple[int, int]
    fingerprint: str
    pixels: Pixels | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        path, label = self.files[index]
        if self.pixels is not None:
            return self.pixels[index].copy(), label
        return decode(path, self.image_hw), label

    def redrawn(self, epoch: int) -> "FolderSplit":
        """Files stay what they are."""
        return self


@dataclass(frozen=True, slots=True)
class _Divided:
    """A layout's images by split; those of a split that the folder lacks come from another one, by the seed.

    labels:  class names in the order of their numbers
    by_seed: the splits that depend on the seed
    """

    root: Path
    labels: tuple[str, ...]
    splits: dict[SplitName, _Files]
    by_seed: frozenset[SplitName]
    parts: str


def open_folder(
    root: Path,
    image_hw: tuple[int, int],
    seed: int,
    *,
    labels: tuple[str, ...] | None = None,
    mirrors: bool = True,
    parts: str = "",
) -> DataSet:
    """Open ROOT/{train,val,test}/<class>/*, or ROOT/<class>/*, which is split 80/10/10 per class by `seed`.

    Without val/, a tenth of every class in train/ is held back for it. Without test/, the validation images are tested,
    with a warning. `labels` are the classes of a model that was trained: the folder may then have fewer, and only some
    of the splits. Without them the folder is to be trained on.

    Raises:
        UsageError: no such folder.
        DataError: as `lstn.data.open_data` says.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root}: no such folder",
            hint="folder:PATH wants PATH/<class>/* or PATH/train/<class>/*; if it was moved: --data folder:NEW_PATH",
        )
    layout = read_layout(root)
    divided = _divided(layout, labels or layout.labels, seed, lenient=labels is not None)
    unread = layout.skipped.describe_unread()
    single = "a single class: there is nothing to tell it from" if len(divided.labels) == 1 else ""
    for line in (*layout.warnings, *(f"{root}: {line}" for line in (unread, single) if line)):
        warn_once(line)
    untested = "test" not in divided.splits

    def open_split(split: SplitName) -> FolderSplit:
        if untested and split == "test":
            if "val" in divided.splits:
                lost = f"no {root / 'test'}"
                warn(f"{lost}: the validation images are tested, and these chose the epoch, which flatters it")
            split = "val"
        return _readable(_files_of(divided, split), split, divided.labels, image_hw)

    return DataSet(
        divided.labels,
        open_split,
        mirrors=mirrors,
        parts=parts or divided.parts,
        by_seed=divided.by_seed,
        test_is_val=untested,
        whole=True,
        found=_found(layout, divided),
    )


def _divided(layout: Layout, labels: tuple[str, ...], seed: int, *, lenient: bool) -> _Divided:
    """Number the classes, and say which image is in which split.

    lenient: the model is trained already, so splits may be missing

    Raises:
        DataError: a class that is not among `labels`, or too few images or splits to train.
    """
    number = {label: index for index, label in enumerate(labels)}
    for where, classes in (*layout.splits.items(), *([("", layout.whole)] if layout.whole else [])):
        _refuse_strangers(layout.root / where if where else layout.root, classes, number, lenient=lenient)
    splits = {split: _numbered(classes, number) for split, classes in layout.splits.items()}
    ordered = [split for split in SPLIT_NAMES if split in splits]
    made = _Divided(layout.root, labels, splits, frozenset(), f"as the folders {_and(ordered)} say")
    if layout.whole:
        return _divided_whole(made, layout.whole, number, seed, lenient=lenient)
    if "train" not in splits:
        if lenient:
            return made
        raise DataError(
            f"{layout.root}: there is {_and([f'{split}/' for split in ordered])} but no train/",
            hint="name the folder of training images train, or give PATH/<class>/* to have it split",
        )
    if "val" in splits:
        untested = "" if "test" in splits else "; without test images, those of val are tested"
        return replace(made, parts=made.parts + untested)
    if "test" not in splits:
        raise DataError(
            f"{layout.root}: there is train/ but no val/ and no test/",
            hint=f"add val/<class>/*, or have train/ split: folder:{layout.root / 'train'}",
        )
    return _with_val_from_train(made, layout.splits["train"], number, seed)


def _divided_whole(made: _Divided, whole: Classes, number: dict[str, int], seed: int, *, lenient: bool) -> _Divided:
    """Split every class 80/10/10, and keep all of it for whoever wants to test on everything."""
    small = next((label for label, files in whole.items() if len(files) < 3), None)
    if small is not None and not lenient:
        raise DataError(
            f"{made.root / small}: {len(whole[small])} image(s), too few for train, val and test",
            hint="a class needs at least 3",
        )
    splits: dict[SplitName, _Files] = {"train": [], "val": [], "test": [], "all": _numbered(whole, number)}
    for label, files in whole.items():
        shuffled, tenth = _shuffled(label, files, seed), _tenth(files)
        parts = (shuffled[2 * tenth :], shuffled[:tenth], shuffled[tenth : 2 * tenth])
        for split, part in zip(SPLIT_NAMES, parts, strict=True):
            splits[split] += [(file, number[label]) for file in sorted(part)]
    return replace(made, splits=splits, by_seed=frozenset(SPLIT_NAMES), parts=f"80/10/10 of every class, seed {seed}")


def _with_val_from_train(made: _Divided, classes: Classes, number: dict[str, int], seed: int) -> _Divided:
    train: _Files = []
    val: _Files = []
    for label, files in classes.items():
        if len(files) < 2:
            raise DataError(
                f"{made.root / 'train' / label}: 1 image, too few for train and val", hint="add val/<class>/*"
            )
        shuffled, tenth = _shuffled(label, files, seed), _tenth(files)
        val += [(file, number[label]) for file in sorted(shuffled[:tenth])]
        train += [(file, number[label]) for file in sorted(shuffled[tenth:])]
    return replace(
        made,
        splits=made.splits | {"train": train, "val": val},
        by_seed=frozenset({"train", "val"}),
        parts=f"{made.parts}; a tenth of every class of train for validation, seed {seed}",
    )


def _files_of(divided: _Divided, split: SplitName) -> _Files:
    if split == "all" and split not in divided.splits:
        return [each for files in divided.splits.values() for each in files]
    if not divided.splits.get(split):
        there = ", ".join(f"{name}/" for name, files in divided.splits.items() if files and name != "all")
        raise DataError(f"{divided.root}: no {split} images", hint=f"there is {there or 'too little to split'}")
    return divided.splits[split]


def _refuse_strangers(where: Path, classes: Classes, number: dict[str, int], *, lenient: bool) -> None:
    stranger = next((label for label in classes if label not in number), None)
    if stranger is None:
        return
    if not lenient:
        raise DataError(f"{where}: class {stranger!r} is not in train/, which has {len(number)} classes")
    first = next(iter(number))
    raise DataError(
        f"{where}: class {stranger!r:.60} is not one of the model's {len(number)} classes ({first!r:.40}, …)",
        hint="name a folder that holds no other classes than the model's",
    )


def _numbered(classes: Classes, number: dict[str, int]) -> _Files:
    return [(file, number[label]) for label, files in classes.items() for file in files]


def _shuffled(label: str, files: list[Path], seed: int) -> list[Path]:
    shuffled = list(files)
    random.Random(f"{seed}/{label}").shuffle(shuffled)
    return shuffled


def _tenth(files: list[Path]) -> int:
    return max(1, round(len(files) / 10))


def _found(layout: Layout, divided: _Divided) -> str:
    """Return what was found, in one line."""
    splits = [(split, divided.splits[split]) for split in SPLIT_NAMES if divided.splits.get(split)]
    counts = _and([f"{len(files)} {_KINDS[split]}" for split, files in splits])
    kind, among = next(((_KINDS[split], files) for split, files in splits), ("", []))
    images = Counter(label for _, label in among)
    smallest = min(images, key=lambda label: (images[label], label))
    line = f"{layout.root}: {len(images)} classes; {counts} images"
    if len(images) > 1:
        line += f"; the smallest class, {divided.labels[smallest]!r:.60}, has {images[smallest]} {kind} images"
    return "; ".join(filter(None, (line, layout.skipped.describe_rest())))


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def _readable(files: _Files, split: SplitName, labels: tuple[str, ...], image_hw: tuple[int, int]) -> FolderSplit:
    """Decode every image once, so that a broken one is known before the first epoch and not in the middle of it."""
    checked, pixels = check_images([path for path, _ in files], image_hw, f"{_KINDS.get(split, '')} images".strip())
    broken = [each.broken for each in checked if each.broken]
    listed = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
    if len(broken) > MAX_BROKEN * len(files):
        raise DataError(
            f"{len(broken)} of {len(files)} {split} images are broken, more than {MAX_BROKEN:.0%}: {listed}",
            hint="repair or remove them",
        )
    good = [index for index, each in enumerate(checked) if not each.broken]
    if split == "train" and (empty := {label for _, label in files} - {files[index][1] for index in good}):
        raise DataError(
            f"class {labels[min(empty)]!r}: every training image is broken: {listed}",
            hint="repair them, or remove the class",
        )
    if broken:
        warn(f"{len(broken)} of {len(files)} {split} images are broken and left out: {listed}")
        pixels = None if pixels is None else np.ascontiguousarray(pixels[good])
    digest = hashlib.sha256(b"".join(b"%d %b" % (files[index][1], checked[index].digest) for index in good))
    return FolderSplit(tuple(files[index] for index in good), image_hw, digest.hexdigest(), pixels)
