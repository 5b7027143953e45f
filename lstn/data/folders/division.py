"""Division of a folder into training, validation and test images: as its folders say, or by a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from lstn.data.folders.layout import Classes, Layout
from lstn.data.splits import SPLIT_NAMES, AnySplit, SplitName
from lstn.errors import DataError
from lstn.report.wording import counted

Files: TypeAlias = list[tuple[Path, int]]
"""Images and the numbers of their classes."""


@dataclass(frozen=True, slots=True)
class Division:
    """A layout's images by split; those of a split that the folder lacks come from another one, by the seed.

    labels:  class names in the order of their numbers
    by_seed: the splits that depend on the seed
    """

    root: Path
    labels: tuple[str, ...]
    splits: dict[AnySplit, Files]
    by_seed: frozenset[SplitName]
    parts: str


def divide(layout: Layout, labels: tuple[str, ...], seed: int, *, lenient: bool) -> Division:
    """Number the classes, and say which image is in which split.

    lenient: the model is trained already, so splits may be missing

    Raises:
        DataError: a class that is not among `labels`, or too few images or splits to train.
    """
    number = {label: index for index, label in enumerate(labels)}
    for where, classes in (*layout.splits.items(), *([("", layout.whole)] if layout.whole else [])):
        _refuse_strangers(layout.root / where if where else layout.root, classes, number, lenient=lenient)
    splits: dict[AnySplit, Files] = {split: _numbered(classes, number) for split, classes in layout.splits.items()}
    ordered = [split for split in SPLIT_NAMES if split in splits]
    made = Division(layout.root, labels, splits, frozenset(), f"as the folders {listed(ordered)} say")
    if layout.whole:
        return _divided_whole(made, layout.whole, number, seed, lenient=lenient)
    if "train" not in splits:
        if lenient:
            return made
        raise DataError(
            f"{layout.root}: there is {listed([f'{split}/' for split in ordered])} but no train/",
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


def _divided_whole(made: Division, whole: Classes, number: dict[str, int], seed: int, *, lenient: bool) -> Division:
    """Split every class 80/10/10, and keep all of it for whoever wants to test on everything."""
    small = next((label for label, files in whole.items() if len(files) < 3), None)
    if small is not None and not lenient:
        raise DataError(
            f"{made.root / small}: {counted(len(whole[small]), 'image')}, too few for train, val and test",
            hint="a class needs at least 3",
        )
    splits: dict[AnySplit, Files] = {"train": [], "val": [], "test": [], "all": _numbered(whole, number)}
    for label, files in whole.items():
        shuffled, tenth = _shuffled(label, files, seed), _tenth(files)
        parts = (shuffled[2 * tenth :], shuffled[:tenth], shuffled[tenth : 2 * tenth])
        for split, part in zip(SPLIT_NAMES, parts, strict=True):
            splits[split] += [(file, number[label]) for file in sorted(part)]
    return replace(made, splits=splits, by_seed=frozenset(SPLIT_NAMES), parts=f"80/10/10 of every class, seed {seed}")


def _with_val_from_train(made: Division, classes: Classes, number: dict[str, int], seed: int) -> Division:
    train: Files = []
    val: Files = []
    for label, files in classes.items():
        if len(files) < 2:
            raise DataError(
                f"{made.root}: class {label!r:.60} has 1 training image, too few to hold one back for validation",
                hint="add val/<class>/*",
            )
        rest, tenth = held_back(label, files, seed)
        val += [(file, number[label]) for file in tenth]
        train += [(file, number[label]) for file in rest]
    return replace(
        made,
        splits=made.splits | {"train": train, "val": val},
        by_seed=frozenset({"train", "val"}),
        parts=f"{made.parts}; a tenth of every class of train for validation, seed {seed}",
    )


def split_files(divided: Division, split: AnySplit) -> Files:
    """Return the images of a split; of `all`, those of every split.

    Raises:
        DataError: there are none.
    """
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
        raise DataError(f"{where}: class {stranger!r} is not in train/, which has {counted(len(number), 'class')}")
    first = next(iter(number))
    raise DataError(
        f"{where}: class {stranger!r:.60} is not one of the model's {counted(len(number), 'class')} ({first!r:.40}, …)",
        hint="name a folder that holds no other classes than the model's",
    )


def _numbered(classes: Classes, number: dict[str, int]) -> Files:
    return [(file, number[label]) for label, files in classes.items() for file in files]


def _shuffled(label: str, files: list[Path], seed: int) -> list[Path]:
    shuffled = list(files)
    random.Random(f"{seed}/{label}").shuffle(shuffled)
    return shuffled


def held_back(label: str, files: list[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Return nine tenths of the files of a class, and the tenth that is held back, of at least one; both sorted."""
    shuffled, tenth = _shuffled(label, files, seed), _tenth(files)
    return sorted(shuffled[tenth:]), sorted(shuffled[:tenth])


def _tenth(files: list[Path]) -> int:
    return max(1, round(len(files) / 10))


def listed(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
