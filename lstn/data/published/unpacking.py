"""Published archives -> {train,val,test}/<class>/<image>. No name out of an archive becomes a path: a member is looked
for by a pattern, and its image gets a name of ours, so that nothing can be written elsewhere."""

import csv
import io
import random
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from lstn.data.published.mat_file import read_mat
from lstn.data.splits import SplitName
from lstn.errors import DataError
from lstn.images import Pixels
from lstn.waiting import worked

MAX_MEMBER = 256 << 20
MAX_TOTAL = 2 << 30
MAX_MEMBERS = 300_000
"""Bytes of one member, bytes of all, and members, that an archive may unpack to. The largest is CIFAR-10's 186 MB in
all; GTSRB has 52,000 members."""

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_CIFAR10_RECORD = 1 + 3 * 32 * 32

_SEED = 0


def unpack_cifar10(files: tuple[Path, ...], folder: Path) -> None:
    """cifar-10-binary.tar.gz; an image is called after its number in torchvision's order."""
    batches = {}
    with _damage_told(files[0]), files[0].open("rb") as file:
        for name, data in _tar_members(file, r"cifar-10-batches-bin/(data_batch_[1-5]|test_batch)\.bin"):
            batches[name] = read_cifar10(data)
    missing = [name for name in ("test_batch", *(f"data_batch_{n}" for n in range(1, 6))) if name not in batches]
    if missing:
        raise DataError(f"{files[0]}: no {missing[0]}.bin in it")
    train = [batches[f"data_batch_{number}"] for number in range(1, 6)]
    pixels = np.concatenate([images for images, _ in train])
    labels = [label for _, part in train for label in part]
    splits = split_by_shares(labels, {"val": Fraction(1, 5)})
    with _damage_told(files[0]):
        _save_pixels(folder, pixels, labels, splits, CIFAR10_LABELS)
        pixels, labels = batches["test_batch"]
        _save_pixels(folder, pixels, labels, ["test"] * len(labels), CIFAR10_LABELS)


def read_cifar10(data: bytes) -> tuple[Pixels, list[int]]:
    """Return the images (N, 32, 32, 3) of one .bin file of CIFAR-10, and their labels.

    A record is a label and then the red, green and blue planes, one byte a value, as the makers' page says.

    Raises:
        ValueError: not a whole number of records.
    """
    if len(data) % _CIFAR10_RECORD:
        raise ValueError(f"{len(data)} bytes; expected records of {_CIFAR10_RECORD}")
    records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR10_RECORD)
    pixels: Pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return pixels, records[:, 0].tolist()


def unpack_caltech101(files: tuple[Path, ...], folder: Path) -> None:
    """caltech-101.zip, which holds 101_ObjectCategories.tar.gz; its background isn't one of the 101 classes."""
    pattern = r"101_ObjectCategories/((?!BACKGROUND_Google/)[A-Za-z0-9_-]+/image_\d{4}\.jpg)"
    images: dict[str, bytes] = {}
    with _damage_told(files[0]), zipfile.ZipFile(files[0]) as pack:
        for _, data in _zip_members(pack, r"caltech-101/(101_ObjectCategories\.tar\.gz)"):
            images |= _tar_members(io.BytesIO(data), pattern)
    if not images:
        raise DataError(f"{files[0]}: no 101_ObjectCategories/<class>/image_NNNN.jpg in it")
    names = sorted(images)
    shares: dict[SplitName, Fraction] = {"val": Fraction(1200, 8677), "test": Fraction(1200, 8677)}
    splits = split_by_shares([name.partition("/")[0] for name in names], shares)
    for name, split in zip(names, splits, strict=True):
        _save(folder / split / name, images[name])


def unpack_gtsrb(files: tuple[Path, ...], folder: Path) -> None:
    """Images of training, images of the test, classes of the test. Up to 30 images show one sign from nearer and
    nearer, a track, which must not be divided: its images are nearly alike. The boxes of all signs go to boxes.csv."""
    boxes = ["path,x1,y1,x2,y2"]
    pattern = r"GTSRB/Training/000(\d\d/\d{5}_\d{5}\.ppm)"
    with _damage_told(files[0]), zipfile.ZipFile(files[0]) as pack:
        names = sorted(found[1] for member in _listed(pack) if (found := re.fullmatch(pattern, member.filename)))
        tracks = sorted({name.partition("_")[0] for name in names})
        splits = dict(
            zip(tracks, split_by_shares([t[:2] for t in tracks], {"val": Fraction(1, 5)}, each=True), strict=True)
        )
        for name, data in _zip_members(pack, pattern):
            _save(folder / splits[name.partition("_")[0]] / name, data)
        for label, data in _zip_members(pack, r"GTSRB/Training/000(\d\d)/GT-\d{5}\.csv"):
            for row in _annotations(data):
                if (track := f"{label}/{row['Filename']}".partition("_")[0]) in splits:
                    boxes.append(_box(f"{splits[track]}/{label}/{row['Filename']}", row))
    with _damage_told(files[2]), zipfile.ZipFile(files[2]) as pack:
        rows = [row for _, data in _zip_members(pack, r"(GT-final_test\.csv)") for row in _annotations(data)]
        classes = {row["Filename"]: int(row["ClassId"]) for row in rows}
        boxes += [_box(f"test/{classes[row['Filename']]:02d}/{row['Filename']}", row) for row in rows]
    with _damage_told(files[1]), zipfile.ZipFile(files[1]) as pack:
        for name, data in _zip_members(pack, r"GTSRB/Final_Test/Images/(\d{5}\.ppm)"):
            _save(folder / "test" / f"{classes[name]:02d}" / name, data)
    if not names or not (folder / "test").is_dir():
        raise DataError(f"{files[0 if not names else 1]}: no GTSRB images in it")
    _save(folder / "boxes.csv", "\n".join([*boxes, ""]).encode())


def _annotations(table: bytes) -> list[dict[str, str]]:
    """Return the rows of one of GTSRB's tables."""
    return list(csv.DictReader(io.StringIO(table.decode("ascii")), delimiter=";", skipinitialspace=True))


def _box(path: str, row: dict[str, str]) -> str:
    """Return a line of boxes.csv. The right and lower edges that GTSRB names are those of the box, not its last pixels:
    so the margins around its signs are equal."""
    return ",".join([path, *(str(int(row[f"Roi.{name}"])) for name in ("X1", "Y1", "X2", "Y2"))])


def unpack_svhn(files: tuple[Path, ...], folder: Path) -> None:
    """train_32x32.mat and test_32x32.mat, in which the digit 0 has label 10."""
    for path, test in zip(files, (False, True), strict=True):
        with _damage_told(path):
            arrays = read_mat(path.read_bytes(), {"X": (32, 32, 3, None), "y": (None, 1)}, MAX_TOTAL)
            labels = [label % 10 for label in arrays["y"][:, 0].tolist()]
            pixels = arrays["X"].transpose(3, 0, 1, 2)
            shares: dict[SplitName, Fraction] = {"test": Fraction(1)} if test else {"val": Fraction(1, 10)}
            splits = split_by_shares(labels, shares)
            _save_pixels(folder, pixels, labels, splits, tuple("0123456789"))


def split_by_shares(
    classes: Sequence[str | int], shares: dict[SplitName, Fraction], *, each: bool = False
) -> list[SplitName]:
    """Say for every item which split it goes to: a share of all goes to each split that is named, the rest to train.

    A share is exact over all, rounded down, and even over the classes to within one; with `each`, it is rounded to the
    nearest, but at least one, in every class by itself. Which items of a class are chosen is random by a fixed seed.
    """
    order = sorted(range(len(classes)), key=lambda index: (str(classes[index]), index))
    groups: dict[str, list[int]] = {}
    for index in order:
        groups.setdefault(str(classes[index]), []).append(index)
    for label, group in groups.items():
        random.Random(f"{_SEED}/{label}").shuffle(group)
    splits: list[SplitName] = ["train"] * len(classes)
    for split, share in shares.items():
        if each:
            chosen = [i for group in groups.values() for i in group[: max(1, round(len(group) * share))]]
        else:
            queue = [i for group in groups.values() for i in group if splits[i] == "train"]
            wanted, left = int(len(classes) * share), len(queue)
            # Every left/wanted-th of a queue sorted by class: as even over the classes as whole images can be.
            chosen = [i for rank, i in enumerate(queue) if (rank + 1) * wanted // left > rank * wanted // left]
        for index in chosen:
            splits[index] = split
    return splits


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn what the readers of archives raise into one error; what the disk raises goes on."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{path}: a damaged or foreign archive ({str(error)[:120]})") from error


class _Swelling(io.RawIOBase):
    """A compressed stream that ends in an error when it swells to more than MAX_TOTAL."""

    def __init__(self, data: io.BufferedIOBase) -> None:
        super().__init__()
        self._data, self._left, self._zip = data, MAX_TOTAL, zlib.decompressobj(wbits=31)
        self._pending = b""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer at the end alone."""
        parts, wanted = [], size
        while wanted and not self._zip.eof:
            self._pending = self._pending or self._data.read(1 << 16)
            if not self._pending:
                raise EOFError("the compressed stream is cut off")
            part = self._zip.decompress(self._pending, wanted)
            self._pending = self._zip.unconsumed_tail
            parts.append(part)
            wanted -= len(part)
        self._left -= size - wanted
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MAX_TOTAL >> 20} MiB")
        return b"".join(parts)


def _tar_members(file: io.BufferedIOBase, pattern: str) -> Iterator[tuple[str, bytes]]:
    """The first group of every name in a gzipped tar file that fits `pattern`, and what is in the member."""
    with tarfile.open(fileobj=_Swelling(file), mode="r|") as pack:
        for number, member in enumerate(pack):
            _check_size(number, member.size)
            if member.isfile() and (found := re.fullmatch(pattern, member.name)):
                stream = pack.extractfile(member)
                assert stream is not None  # a regular file
                yield found[1], stream.read()


def _zip_members(pack: zipfile.ZipFile, pattern: str) -> Iterator[tuple[str, bytes]]:
    """The first group of every name in a zip file that fits `pattern`, and what is in the member."""
    total = 0
    members = _listed(pack)
    for member in worked("unpacking", members, len(members)):
        if found := re.fullmatch(pattern, member.filename):
            with pack.open(member) as stream:
                data = stream.read(MAX_MEMBER + 1)
            total += len(data)
            if len(data) > MAX_MEMBER or total > MAX_TOTAL:
                raise ValueError(f"it unpacks to more than {MAX_TOTAL >> 20} MiB")
            yield found[1], data


def _listed(pack: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = pack.infolist()
    for member in members:
        _check_size(len(members) - 1, member.file_size)
    return members


def _check_size(number: int, size: int) -> None:
    if number >= MAX_MEMBERS or size > MAX_MEMBER:
        raise ValueError(f"more than {MAX_MEMBERS} members, or one of more than {MAX_MEMBER >> 20} MiB")


def _save_pixels(
    folder: Path, pixels: Pixels, labels: Sequence[int], splits: Sequence[SplitName], names: tuple[str, ...]
) -> None:
    if len(pixels) != len(labels) or not all(0 <= label < len(names) for label in labels):
        raise ValueError(f"{len(pixels)} images, and labels that don't fit them")
    rows = zip(pixels, labels, splits, strict=True)
    for number, (image, label, split) in enumerate(worked("unpacking", rows, len(labels))):
        png = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image)).save(png, "png", compress_level=1)
        _save(folder / split / names[label] / f"{number:05d}.png", png.getvalue())


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
