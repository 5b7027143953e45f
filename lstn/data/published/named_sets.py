"""Published data sets that are unpacked once into image folders: which files, and how they are divided.

The folder ROOT/images/NAME is what `folder:` reads, so any stage and any other tool can read it too. It stands whole or
not at all: it is filled under another name, and renamed.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lstn.data.folders.boxes import BOXES
from lstn.data.folders.class_folders import open_folder
from lstn.data.published.published_files import Published, require_files
from lstn.data.published.sign_names import SIGN_NAMES
from lstn.data.published.unpacking import unpack_caltech101, unpack_cifar10, unpack_gtsrb, unpack_svhn
from lstn.data.splits import DataSet
from lstn.errors import DataError
from lstn.files import filling
from lstn.imaging.framing import STRETCHED, Framing
from lstn.terminal import note, warn_once

Unpack: TypeAlias = Callable[[tuple[Path, ...], Path], None]
"""The published files, in order, and an empty folder to fill with {train,val,test}/<class>/<image>.

Raises DataError for a damaged file, and OSError when the folder can't be written.
"""


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set's files, how they become a folder of images, whether mirroring keeps classes, and how it is divided.

    names: of the classes, in the order of their folders, where these have numbers
    boxed: unpacking writes where the objects are
    """

    files: tuple[Published, ...]
    unpack: Unpack
    mirrors: bool
    parts: str
    names: tuple[str, ...] = ()
    boxed: bool = False


_GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
_SVHN = "http://ufldl.stanford.edu/housenumbers/"

NAMED: dict[str, NamedSet] = {
    "cifar10": NamedSet(
        (
            Published(
                "cifar-10-binary.tar.gz",
                "c32a1d4ab5d03f1284b67883e8d87530",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            ),
        ),
        unpack_cifar10,
        mirrors=True,
        parts="the paper's 40,000/10,000/10,000: 1,000 training images of every class for validation, seed 0",
    ),
    "caltech101": NamedSet(
        (
            Published(
                "caltech101/caltech-101.zip",
                "3138e1922a9193bfa496528edbbc45d0",
                ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
            ),
        ),
        unpack_caltech101,
        mirrors=True,
        parts="the paper's 6,277/1,200/1,200, spread evenly over the classes, seed 0",
    ),
    "gtsrb": NamedSet(
        (
            Published(
                "gtsrb/GTSRB-Training_fixed.zip",
                "513f3c79a4c5141765e10e952eaa2478",
                (f"{_GTSRB}GTSRB-Training_fixed.zip",),
            ),
            Published(
                "gtsrb/GTSRB_Final_Test_Images.zip",
                "c7e4e6327067d32654124b0fe9e82185",
                (f"{_GTSRB}GTSRB_Final_Test_Images.zip",),
            ),
            Published(
                "gtsrb/GTSRB_Final_Test_GT.zip",
                "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
                (f"{_GTSRB}GTSRB_Final_Test_GT.zip",),
            ),
        ),
        unpack_gtsrb,
        mirrors=False,
        parts="a fifth of every class's tracks for validation, seed 0, and the official test",
        names=SIGN_NAMES,
        boxed=True,
    ),
    "svhn": NamedSet(
        (
            Published("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", (f"{_SVHN}train_32x32.mat",)),
            Published("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", (f"{_SVHN}test_32x32.mat",)),
        ),
        unpack_svhn,
        mirrors=False,
        parts="a tenth of every class's training images for validation, seed 0, and the official test",
    ),
}
"""Checksums and addresses are those of torchvision 0.29, and of the makers' page for CIFAR-10, whose binary version is
read: torchvision reads the other one, which is pickled. The paper says how large its splits are (Tables 4 and 5), not
which images are in them."""


def open_named(
    name: str,
    root: Path,
    image_hw: tuple[int, int],
    labels: tuple[str, ...] | None = None,
    framing: Framing = STRETCHED,
) -> DataSet:
    """Open a name in NAMED, unpacking its files below `root` if that hasn't been done.

    labels: the classes of a model that was trained; if they are the set's `names`, the set's classes are called so too

    Raises:
        DataError: the files aren't there, aren't the published ones, or can't be unpacked there.
    """
    entry = NAMED[name]
    folder = unpacked(name, root)
    if not folder.is_dir():
        files = require_files(name, entry.files, root)
        note(f"unpacking {name} into {folder}")
        _fill(folder, files, entry.unpack)
    elif entry.boxed and not (folder / BOXES).is_file():
        warn_once(
            f"{folder} has no {BOXES}: an earlier lstn unpacked it; remove the folder to have {name} unpacked again"
        )
    opened = open_folder(folder, image_hw, 0, mirrors=entry.mirrors, parts=entry.parts, framing=framing)
    if entry.names and labels == entry.names and len(opened.labels) == len(entry.names):
        opened.labels = entry.names
    return opened


def unpacked(name: str, root: Path) -> Path:
    """Where the image folders of a set are."""
    return root / "images" / name


def _fill(folder: Path, files: tuple[Path, ...], unpack: Unpack) -> None:
    try:
        with filling(folder) as temporary:
            unpack(files, temporary)
    except OSError as error:
        if folder.is_dir():  # another process, which unpacked the same files, was quicker
            return
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"cannot unpack into {folder}: {error.strerror or error}",
            hint="free some space there" if full else "choose another place with --data-root, and put the files there",
        ) from error
