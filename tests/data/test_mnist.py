import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from published_sets import accept, write_mnist
from torchvision.datasets import MNIST

from lstn.data.dataset import open_data
from lstn.data.published import mnist
from lstn.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_mnist(tmp_path)
    accept(monkeypatch, "mnist", tmp_path)
    return tmp_path


def test_mnist_is_what_torchvision_reads(root: Path) -> None:
    data = open_data(f"mnist:{root}", image_hw=(28, 28))
    ours = [split[i] for split in (data.train, data.val) for i in range(len(split))]
    for path in (root / "MNIST/raw").glob("*.gz"):  # torchvision wants them unpacked
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    theirs = MNIST(root, train=True)
    assert (len(data.train), len(data.val), len(data.test)) == (50, 10, 10)
    for (pixels, label), (image, target) in zip(ours, theirs, strict=True):
        assert label == target
        assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
    assert [data.test[i][1] for i in range(10)] == [target for _, target in MNIST(root, train=False)]


@pytest.mark.parametrize("name", [name for name in mnist.MNIST_SETS if name != "mnist"])
def test_only_training_images_are_redrawn_and_only_they_depend_on_the_seed(root: Path, name: str) -> None:
    one, other = (open_data(f"{name}:{root}", image_hw=(42, 42), seed=seed) for seed in (0, 1))
    assert one.train[3][0].shape == (42, 42, 3)
    assert not np.array_equal(one.train[3][0], other.train[3][0])
    assert one.train.fingerprint != other.train.fingerprint
    later = one.train.redrawn(2)
    assert not np.array_equal(one.train[3][0], later[3][0])
    assert np.array_equal(later[3][0], one.train.redrawn(1).redrawn(2)[3][0])
    assert later.fingerprint == one.train.fingerprint
    for split in ("val", "test"):
        assert np.array_equal(getattr(one, split)[3][0], getattr(other, split)[3][0])
        assert getattr(one, split).redrawn(5) is getattr(one, split)
        assert getattr(one, split).fingerprint == getattr(other, split).fingerprint


def test_offline_the_error_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 of 4 files are missing") as caught:
        open_data(f"mnist-r:{tmp_path}", image_hw=(28, 28))
    for file in mnist.MNIST_FILES:
        assert f"put {file.urls[0]} at {tmp_path / file.path}" in caught.value.hint


def test_another_file_than_the_published_one_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=r"train-images.*MD5 \w+; the published file has f68b3c2d"):
        open_data(f"mnist:{tmp_path}", image_hw=(28, 28))


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        (lambda data: data[:-1], "bytes, where its header promises 60"),
        (lambda data: data[:3] + b"\x02" + data[4:], "no IDX file"),
        (lambda data: b"", "no IDX file"),
        (lambda data: data + bytes(90_000_000), "no IDX file"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: object, says: str) -> None:
    write_mnist(tmp_path)
    path = tmp_path / mnist.MNIST_FILES[0].path
    path.write_bytes(gzip.compress(spoilt(gzip.decompress(path.read_bytes())), 1))  # type: ignore[operator]
    accept(monkeypatch, "mnist", tmp_path)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + says):
        _ = open_data(f"mnist:{tmp_path}", image_hw=(28, 28)).train
