"""Data sets, free of torch: a name or `folder:PATH` -> classes and splits.

A split is an indexable sequence of (pixels (H, W, 3) uint8 RGB, label). Training wraps one for loading; export,
calibration, evaluation and the demo read it as it is.
"""

import hashlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from rich.progress import track

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD
from lstn.digits import DIGIT_LABELS, DIGIT_MEAN, DIGIT_STD, Digits
from lstn.errors import DataError, ImageError, UsageError
from lstn.images import SUFFIXES, Pixels, decode
from lstn.terminal import messages, warn

SplitName: TypeAlias = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")

MAX_BROKEN = 0.05
"""A split with a larger share of images that don't decode is refused."""

_PREFIX = "folder:"


class Split(Protocol):
    """Images with labels; reading one is deterministic."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, index: int, /) -> tuple[Pixels, int]:
        """Return image `index` as (H, W, 3) uint8 RGB, and its label."""

    @property
    def fingerprint(self) -> str:
        """Return what tells this split from another: which images, in which order, with which labels."""

    def redrawn(self, epoch: int, /) -> "Split":
        """Return the images as training sees them in `epoch`: the same ones, unless the set is drawn and not read."""


class DataSet:
    """Class names, how pixels are normalised, and three splits that are opened when they are first asked for.

    mean, std: per RGB channel on the 0..1 scale
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        open_split: Callable[[SplitName], Split],
        *,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        self.labels = labels
        self.mean, self.std = mean, std
        self._open_split = open_split

    @cached_property
    def train(self) -> Split:
        """What the weights are fitted to."""
        return self._open_split("train")

    @cached_property
    def val(self) -> Split:
        """What chooses the best epoch, and checks an export."""
        return self._open_split("val")

    @cached_property
    def test(self) -> Split:
        """What is looked at once, at the end."""
        return self._open_split("test")


def open_data(spec: str, *, image_hw: tuple[int, int], seed: int = 0) -> DataSet:
    """Open the data set that `--data` names, at the model's input size.

    `digits` is embedded (see `lstn.digits`); `folder:PATH` reads PATH/{train,val,test}/<class>/*, where val stands in
    for a missing test; a folder without these splits, PATH/<class>/*, is split 80/10/10 per class by `seed`.

    Raises:
        UsageError: no such data set or folder.
        DataError: no classes, an empty class, an unknown class in val or test, or too many broken images.
    """
    if spec == "digits":
        return DataSet(
            DIGIT_LABELS,
            lambda split: Digits(split, image_hw=image_hw, seed=seed),
            mean=DIGIT_MEAN,
            std=DIGIT_STD,
        )
    if spec.startswith(_PREFIX):
        return _open_folder(Path(spec[len(_PREFIX) :]).expanduser(), image_hw, seed)
    raise UsageError(f"unknown data set {spec!r}", hint="use digits, or folder:PATH for images of your own")


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """Image files and their labels, decoded when they are read."""

    files: tuple[tuple[Path, int], ...]
    image_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        path, label = self.files[index]
        return decode(path, self.image_hw), label

    @property
    def fingerprint(self) -> str:
        """A hash of the files' names and labels."""
        return hashlib.sha256("\n".join(f"{label} {path}" for path, label in self.files).encode()).hexdigest()

    def redrawn(self, epoch: int) -> "FolderSplit":
        """Files stay what they are."""
        return self


def _open_folder(root: Path, image_hw: tuple[int, int], seed: int) -> DataSet:
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint="folder:PATH wants PATH/<class>/* or PATH/train/<class>/*")
    if (root / "train").is_dir():
        labels, listing = _list_splits(root)
    else:
        labels, listing = _split_by_class(root, seed)
    return DataSet(labels, lambda split: FolderSplit(_only_readable(listing[split], split), image_hw))


_Files: TypeAlias = list[tuple[Path, int]]


def _list_splits(root: Path) -> tuple[tuple[str, ...], dict[SplitName, _Files]]:
    classes = {split: _class_folders(root / split) for split in SPLIT_NAMES if (root / split).is_dir()}
    if "val" not in classes:
        raise DataError(
            f"{root}: there is train/ but no val/", hint="add val/<class>/*, or give PATH/<class>/* to have it split"
        )
    labels = tuple(classes["train"])
    for split, folders in classes.items():
        if strangers := sorted(set(folders) - set(labels)):
            raise DataError(f"{root / split}: class {strangers[0]!r} is not in train/, which has {len(labels)} classes")
    number = {label: index for index, label in enumerate(labels)}
    listing: dict[SplitName, _Files] = {
        split: [(file, number[label]) for label, files in folders.items() for file in files]
        for split, folders in classes.items()
    }
    listing.setdefault("test", listing["val"])
    return labels, listing


def _split_by_class(root: Path, seed: int) -> tuple[tuple[str, ...], dict[SplitName, _Files]]:
    classes = _class_folders(root)
    listing: dict[SplitName, _Files] = {"train": [], "val": [], "test": []}
    for index, (label, files) in enumerate(classes.items()):
        shuffled = sorted(files)
        random.Random(f"{seed}/{label}").shuffle(shuffled)
        tenth = max(1, round(len(files) / 10))
        if len(files) < 3:
            raise DataError(
                f"{root / label}: {len(files)} image(s), too few for train, val and test",
                hint="a class needs at least 3",
            )
        for split, part in zip(
            SPLIT_NAMES, (shuffled[2 * tenth :], shuffled[:tenth], shuffled[tenth : 2 * tenth]), strict=True
        ):
            listing[split] += [(file, index) for file in sorted(part)]
    return tuple(classes), listing


def _class_folders(root: Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both sorted."""
    classes = {
        folder.name: sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }
    if not classes:
        raise DataError(f"{root}: no class folders", hint="put the images of each class into a folder of its own")
    for label, files in classes.items():
        if not files:
            raise DataError(f"{root / label}: no image in this class folder", hint="fill it, or remove it")
    return classes


def _only_readable(files: _Files, split: SplitName) -> tuple[tuple[Path, int], ...]:
    """Decode every image once, so that a broken one is known before the first epoch and not in the middle of it."""
    with ThreadPoolExecutor() as pool:
        reasons = list(
            track(
                pool.map(_why_broken, (path for path, _ in files)),
                description=f"checking {split} images",
                total=len(files),
                console=messages(),
                transient=True,
                disable=not messages().is_terminal,
            )
        )
    broken = [reason for reason in reasons if reason]
    listed = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
    if len(broken) > MAX_BROKEN * len(files):
        raise DataError(
            f"{len(broken)} of {len(files)} {split} images are broken, more than {MAX_BROKEN:.0%}: {listed}",
            hint="repair or remove them",
        )
    if broken:
        warn(f"{len(broken)} of {len(files)} {split} images are broken and left out: {listed}")
    return tuple(file for file, reason in zip(files, reasons, strict=True) if not reason)


def _why_broken(path: Path) -> str:
    try:
        decode(path, (8, 8))
    except ImageError as error:
        return error.message
    return ""
