"""Folders of images, one for each class: the splits of `folder:PATH`, and of sets that were unpacked into that form."""

import hashlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from PIL import __version__ as pillow_version
from rich.progress import track

from lstn.data.splits import SPLIT_NAMES, DataSet, SplitName
from lstn.errors import DataError, ImageError, LstnError, UsageError
from lstn.images import SUFFIXES, Pixels, decode
from lstn.machine.caches import cache_folder, read_cache, write_cache
from lstn.terminal import messages, warn

MAX_BROKEN = 0.05
"""A split with a larger share of images that don't decode is refused."""

_UNTESTED = "as the folders train and val say; without test images, those of val are tested"

_Files: TypeAlias = list[tuple[Path, int]]

_DIGEST = 16
_BROKEN = bytes(_DIGEST)
"""Bytes of an image's digest, and what stands for that of a broken one."""

_SETTLED_NS = 2_000_000_000
"""The coarsest clock of a file system, FAT's: what changed later than that ago may change again and look the same."""


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """Image files and their labels, decoded when they are read.

    fingerprint: a hash of what is in the files, in their order, and of their labels
    """

    files: tuple[tuple[Path, int], ...]
    image_hw: tuple[int, int]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        path, label = self.files[index]
        return decode(path, self.image_hw), label

    def redrawn(self, epoch: int) -> "FolderSplit":
        """Files stay what they are."""
        return self


def open_folder(root: Path, image_hw: tuple[int, int], seed: int, *, mirrors: bool = True, parts: str = "") -> DataSet:
    """Open ROOT/{train,val,test}/<class>/*, or ROOT/<class>/*, which is split 80/10/10 per class by `seed`.

    Without test/, the validation images are tested, with a warning.

    Raises:
        UsageError: no such folder.
        DataError: as `lstn.data.dataset.open_data` says.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint="folder:PATH wants PATH/<class>/* or PATH/train/<class>/*")
    divided, untested = (root / "train").is_dir(), lacks_test(root)
    if divided:
        labels, listing = _list_splits(root)
        parts = parts or (_UNTESTED if untested else "as the folders train, val and test say")
    else:
        labels, listing = _split_by_class(root, seed)
        parts = f"80/10/10 of every class, seed {seed}"

    def open_split(split: SplitName) -> FolderSplit:
        if untested and split == "test":
            warn(f"no {root / 'test'}: the validation images are tested, and these chose the epoch, which flatters it")
        return _readable(listing[split], split, labels, image_hw)

    return DataSet(labels, open_split, mirrors=mirrors, parts=parts, split_by_seed=not divided, test_is_val=untested)


def lacks_test(root: Path) -> bool:
    """Whether a folder is divided into splits, but has no images that chose nothing."""
    return (root / "train").is_dir() and not (root / "test").is_dir()


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


def _readable(files: _Files, split: SplitName, labels: tuple[str, ...], image_hw: tuple[int, int]) -> FolderSplit:
    """Decode every image once, so that a broken one is known before the first epoch and not in the middle of it."""
    examined = _examined([path for path, _ in files], split)
    broken = [reason for _, reason in examined if reason]
    listed = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "")
    if len(broken) > MAX_BROKEN * len(files):
        raise DataError(
            f"{len(broken)} of {len(files)} {split} images are broken, more than {MAX_BROKEN:.0%}: {listed}",
            hint="repair or remove them",
        )
    whole = [(file, digest) for file, (digest, reason) in zip(files, examined, strict=True) if not reason]
    if split == "train" and (empty := set(range(len(labels))) - {label for (_, label), _ in whole}):
        raise DataError(
            f"class {labels[min(empty)]!r}: every training image is broken: {listed}",
            hint="repair them, or remove the class",
        )
    if broken:
        warn(f"{len(broken)} of {len(files)} {split} images are broken and left out: {listed}")
    fingerprint = hashlib.sha256(b"".join(b"%d %b" % (label, digest) for (_, label), digest in whole))
    return FolderSplit(tuple(file for file, _ in whole), image_hw, fingerprint.hexdigest())


def _examined(paths: list[Path], split: SplitName) -> list[tuple[bytes, str]]:
    """Digest of every image, and what is wrong with it or nothing.

    What an earlier run found is kept in the user's cache folder, and holds as long as every name, size and time of
    change is the same: an export that wants 64 images of a large split would decode them all otherwise.
    """
    kept = _kept_at(paths)
    if kept is not None and (found := read_cache(kept)):
        digests = [found[start : start + _DIGEST] for start in range(0, len(found), _DIGEST)]
        # The broken ones are tried again: a disk that failed once may not fail twice.
        return [
            _examine(path) if digest == _BROKEN else (digest, "") for path, digest in zip(paths, digests, strict=True)
        ]
    with ThreadPoolExecutor() as pool:
        examined = list(
            track(
                pool.map(_examine, paths),
                description=f"checking {split} images",
                total=len(paths),
                console=messages(),
                transient=True,
                disable=not messages().is_terminal,
            )
        )
    if kept is not None:
        write_cache(kept, b"".join(digest for digest, _ in examined))
    return examined


def _kept_at(paths: list[Path]) -> Path | None:
    """Where the findings about files in just this state are kept; None where nothing can be, or not yet.

    The time of the last change of any kind is part of the state, since a copy may bring its old time of writing along.
    """
    try:
        folder = cache_folder() / "checked"
    except LstnError:
        return None
    settled = time.time_ns() - _SETTLED_NS
    digest = hashlib.sha256(f"contents, Pillow {pillow_version}".encode())  # another one may read more, or less
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            return None
        if status.st_ctime_ns > settled:
            return None
        state = (os.fsencode(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(b"\n%b\0%d %d %d" % state)
    return folder / f"{digest.hexdigest()[:32]}.bin"


def _examine(path: Path) -> tuple[bytes, str]:
    try:
        decode(path, (8, 8))
        return hashlib.blake2b(path.read_bytes(), digest_size=_DIGEST).digest(), ""
    except ImageError as error:
        return _BROKEN, error.message
    except OSError as error:
        return _BROKEN, f"{path}: {error.strerror or error}"
