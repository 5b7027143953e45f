"""Published data sets in small: the same formats, with a few images, and their own checksums."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from lstn.data.published import mnist
from lstn.data.published import named_sets as named_data
from lstn.data.published.published_files import md5_of


def accept(monkeypatch: pytest.MonkeyPatch, name: str, root: Path) -> None:
    """Take the files below `root` for the published ones."""
    if name == "mnist":
        files = tuple(replace(f, md5=md5_of(root / f.path)) for f in mnist.MNIST_FILES)
        monkeypatch.setattr(mnist, "MNIST_FILES", files)
    else:
        entry = named_data.NAMED[name]
        files = tuple(replace(f, md5=md5_of(root / f.path)) for f in entry.files)
        monkeypatch.setitem(named_data.NAMED, name, replace(entry, files=files))


def write_mnist(root: Path, train: int = 60, test: int = 10) -> None:
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 5:23, 8:20] = rng.integers(0, 256, (count, 18, 12))
        head = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        labels = np.arange(count, dtype=np.uint8) % 10
        head = struct.pack(">2I", 0x801, count)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.tobytes()))


def write_cifar10(root: Path, per_batch: int = 20) -> None:
    """The makers' binary version, and in cifar-10-batches-py/ the same images as torchvision reads them."""
    pickled = root / "cifar-10-batches-py"
    pickled.mkdir(parents=True)
    rng = np.random.default_rng(1)
    with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as pack:
        for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
            data = rng.integers(0, 256, (per_batch, 3072)).astype(np.uint8)
            labels = [number % 10 for number in range(per_batch)]
            rows = (bytes([label]) + row.tobytes() for label, row in zip(labels, data, strict=True))
            add(pack, f"cifar-10-batches-bin/{name}.bin", b"".join(rows))
            (pickled / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, 2))
        add(pack, "cifar-10-batches-bin/batches.meta.txt", b"airplane\nautomobile\n")


def write_caltech101(root: Path, counts: dict[str, int]) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as pack:
        level = 0
        for label, count in counts.items():
            for number in range(1, count + 1):
                level += 1
                add(pack, f"101_ObjectCategories/{label}/image_{number:04d}.jpg", image(level % 256, "JPEG"))
    (root / "caltech101").mkdir(parents=True)
    with zipfile.ZipFile(root / "caltech101/caltech-101.zip", "w") as outer:
        outer.writestr("caltech-101/101_ObjectCategories.tar.gz", inner.getvalue())
        outer.writestr("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"\x00")


_GTSRB_HEAD = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def write_gtsrb(root: Path, classes: int = 3, tracks: int = 5, frames: int = 4, test: int = 6) -> None:
    (root / "gtsrb").mkdir(parents=True)
    with zipfile.ZipFile(root / "gtsrb/GTSRB-Training_fixed.zip", "w") as pack:
        for label in range(classes):
            rows = "".join(
                f"{track:05d}_{frame:05d}.ppm;6;6;1;1;4;4;{label}\n"
                for track in range(tracks)
                for frame in range(frames)
            )
            pack.writestr(f"GTSRB/Training/{label:05d}/GT-{label:05d}.csv", _GTSRB_HEAD + "\n" + rows)
            for track in range(tracks):
                for frame in range(frames):
                    name = f"GTSRB/Training/{label:05d}/{track:05d}_{frame:05d}.ppm"
                    pack.writestr(name, image(label * 50 + track * 5 + frame, "PPM"))
    with zipfile.ZipFile(root / "gtsrb/GTSRB_Final_Test_Images.zip", "w") as pack:
        for number in range(test):
            pack.writestr(f"GTSRB/Final_Test/Images/{number:05d}.ppm", image(200 + number, "PPM"))
    rows = [f"{number:05d}.ppm;6;6;1;1;5;5;{number * 7 % classes}\r\n" for number in range(test)]
    with zipfile.ZipFile(root / "gtsrb/GTSRB_Final_Test_GT.zip", "w") as pack:
        pack.writestr("GT-final_test.csv", _GTSRB_HEAD + "\r\n" + "".join(rows))


def write_svhn(root: Path, train: int = 60, test: int = 20, *, compressed: bool = True) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)
    for name, count in (("train", train), ("test", test)):
        pixels = rng.integers(0, 256, (32, 32, 3, count)).astype(np.uint8)
        labels = (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]
        savemat(root / f"{name}_32x32.mat", {"X": pixels, "y": labels}, do_compression=compressed)


def add(pack: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    pack.addfile(member, io.BytesIO(data))


def image(level: int, kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (6, 6), (level % 256,) * 3).save(out, kind)
    return out.getvalue()
