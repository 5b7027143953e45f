"""Folders of images, one for each class: the splits of `folder:PATH`, and of sets that were unpacked into that form."""

import hashlib
import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from PIL import __version__ as pillow_version
from rich.progress import track

from lstn.caches import cache_folder, read_cache, write_cache
from lstn.errors import DataError, ImageError, LstnError, UsageError
from lstn.images import SUFFIXES, Pixels, decode
from lstn.splits import SPLIT_NAMES, DataSet, SplitName
from lstn.terminal import messages, warn

MAX_BROKEN = 0.05
"""A split with a larger share of images that don't decode is refused."""

_Files: TypeAlias = list[tuple[Path, int]]


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
        lines = "\n".join(f"{label} {path}" for path, label in self.files)
        return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()

    def redrawn(self, epoch: int) -> "FolderSplit":
        """Files stay what they are."""
        return self


def open_folder(root: Path, image_hw: tuple[int, int], seed: int, *, mirrors: bool = True, parts: str = "") -> DataSet:
    """Open ROOT/{train,val,test}/<class>/*, or ROOT/<class>/*, which is split 80/10/10 per class by `seed`.

    Raises:
        UsageError: no such folder.
        DataError: as `lstn.data.open_data` says.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint="folder:PATH wants PATH/<class>/* or PATH/train/<class>/*")
    if (root / "train").is_dir():
        labels, listing = _list_splits(root)
        parts = parts or "as the folders train, val and test say"
    else:
        labels, listing = _split_by_class(root, seed)
        parts = f"80/10/10 of every class, seed {seed}"
    return DataSet(
        labels,
        lambda split: FolderSplit(_only_readable(listing[split], split), image_hw),
        mirrors=mirrors,
        parts=parts,
    )


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
    try:
        folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    except OSError as error:
        _refuse(error)
    classes = {folder.name: _images_below(folder) for folder in folders}
    if not classes:
        raise DataError(f"{root}: no class folders", hint="put the images of each class into a folder of its own")
    for label, files in classes.items():
        if not files:
            raise DataError(f"{root / label}: no image in this class folder", hint="fill it, or remove it")
    return classes


def _images_below(folder: Path) -> list[Path]:
    """Every image file at any depth, sorted. Names are sifted before files are asked what they are: that is slow."""
    return sorted(
        file
        for place, _, names in os.walk(folder, onerror=_refuse)
        for name in names
        if "." + name.rpartition(".")[2].lower() in SUFFIXES and (file := Path(place, name)).is_file()
    )


def _refuse(error: OSError) -> NoReturn:
    """Half a class, because a folder can't be read, is not to pass for the whole."""
    raise DataError(f"{error.filename}: {error.strerror}", hint="make the folder readable, or remove it") from error


def _only_readable(files: _Files, split: SplitName) -> tuple[tuple[Path, int], ...]:
    """Decode every image once, so that a broken one is known before the first epoch and not in the middle of it."""
    reasons = _reasons([path for path, _ in files], split)
    broken = list(reasons.values())
    listed = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
    if len(broken) > MAX_BROKEN * len(files):
        raise DataError(
            f"{len(broken)} of {len(files)} {split} images are broken, more than {MAX_BROKEN:.0%}: {listed}",
            hint="repair or remove them",
        )
    if broken:
        warn(f"{len(broken)} of {len(files)} {split} images are broken and left out: {listed}")
    return tuple(file for index, file in enumerate(files) if index not in reasons)


def _reasons(paths: list[Path], split: SplitName) -> dict[int, str]:
    """Number of every broken image -> what is wrong with it.

    What an earlier run found is kept in the user's cache folder, and holds as long as every name, size and time of
    change is the same: an export that wants 64 images of a large split would decode them all otherwise.
    """
    kept = _kept_at(paths)
    if kept is not None and (found := read_cache(kept)):
        # The broken ones are tried again: a disk that failed once may not fail twice.
        return {index: reason for index in json.loads(found) if (reason := _why_broken(paths[index]))}
    with ThreadPoolExecutor() as pool:
        reasons = list(
            track(
                pool.map(_why_broken, paths),
                description=f"checking {split} images",
                total=len(paths),
                console=messages(),
                transient=True,
                disable=not messages().is_terminal,
            )
        )
    broken = {index: reason for index, reason in enumerate(reasons) if reason}
    if kept is not None:
        write_cache(kept, json.dumps(list(broken)).encode())
    return broken


def _kept_at(paths: list[Path]) -> Path | None:
    """Where the findings about files in just this state are kept; None where nothing can be."""
    try:
        folder = cache_folder() / "checked"
    except LstnError:
        return None
    digest = hashlib.sha256(f"Pillow {pillow_version}".encode())  # another one may read more, or less
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            return None
        digest.update(b"\n%b\0%d %d" % (os.fsencode(path.absolute()), status.st_size, status.st_mtime_ns))
    return folder / f"{digest.hexdigest()[:32]}.bin"


def _why_broken(path: Path) -> str:
    try:
        decode(path, (8, 8))
    except ImageError as error:
        return error.message
    return ""
