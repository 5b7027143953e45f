from pathlib import Path

import numpy as np
import pytest
from published_sets import accept, write_mnist
from sklearn.neighbors import KNeighborsClassifier

from benchmarks import make_digits
from lstn.data import digits
from lstn.data.dataset import open_data
from lstn.data.published import mnist


def test_the_embedded_digits_show_what_their_labels_say() -> None:
    """The nearest training digits, unturned, name nearly every test digit: labels and rasters belong together."""
    images, labels = digits._load()
    assert (images.shape, images.dtype, images.max()) == ((12_000, 20, 20), np.uint8, 15)
    assert (labels.shape, labels.dtype) == ((12_000,), np.uint8)
    train, test = slice(0, 10_000), slice(11_000, None)
    nearest = KNeighborsClassifier(3).fit(images[train].reshape(10_000, -1), labels[train])
    assert nearest.score(images[test].reshape(1_000, -1), labels[test]) > 0.93


def test_digit_splits_are_disjoint_balanced_and_complete() -> None:
    data = open_data("digits", image_hw=(32, 32))
    splits = data.train, data.val, data.test
    assert list(map(len, splits)) == [10_000, 1_000, 1_000]
    _, labels = digits._load()
    numbers = np.concatenate([digits._PART[split] for split in ("train", "val", "test")])
    assert np.array_equal(np.sort(numbers), np.arange(len(labels)))
    for part in digits._PART.values():
        assert np.abs(np.bincount(labels[part], minlength=10) / len(part) - 0.1).max() < 0.025
    images, _ = digits._load()
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_a_digit_depends_on_seed_number_and_epoch_alone() -> None:
    one, again, other = (open_data("digits", image_hw=(40, 56), seed=seed).train for seed in (1, 1, 2))
    pixels, label = one[17]
    assert (pixels.shape, pixels.dtype) == ((40, 56, 3), np.uint8)
    assert np.array_equal(pixels, again[17][0])
    assert not np.array_equal(pixels, other[17][0])
    with pytest.raises(IndexError):
        one[len(one)]
    later, label_later = one.redrawn(3)[17]
    assert label == label_later
    assert not np.array_equal(pixels, later)
    assert np.array_equal(later, again.redrawn(3)[17][0])


def test_an_unturned_digit_in_the_middle_is_the_raster_itself() -> None:
    """The drawing against the raster: 20 pixels onto 80, so centres of the raster's pixels are between the canvas'."""
    raster = digits._load()[0][5]
    drawn = np.asarray(digits._paste(raster, (80, 80), (40, 40), 80, 0.0)).reshape(20, 4, 20, 4).mean((1, 3))
    assert np.corrcoef(drawn.ravel(), raster.ravel())[0, 1] > 0.98


def test_a_digit_is_never_cut_off() -> None:
    """The whole box stays on the canvas at the largest scale and shift, if it isn't turned."""
    assert digits._DIGIT_SIDE * digits.SCALE[1] / 2 + digits.SHIFT <= 0.5


def test_the_file_is_made_of_mnists_digits_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    accept(monkeypatch, "mnist", tmp_path)
    made = []
    for name in ("one.npz", "other.npz"):
        make_digits.main([str(tmp_path), "--out", str(tmp_path / name)])
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    (images, labels), (test_images, test_labels) = mnist.open_mnist_files(tmp_path)
    with np.load(tmp_path / "one.npz") as file:
        unpacked, names = digits.unpack(file["images"]), file["labels"]
    chosen = [*images, *images, *test_images[::10]]  # of so few the first 10,000 and the last 1,000 are all
    assert names.tolist() == [*labels, *labels, *test_labels[::10]]
    for found, whole in zip(unpacked, chosen, strict=True):
        rows, columns = np.nonzero(whole.any(1))[0], np.nonzero(whole.any(0))[0]
        digit = whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top, left = (20 - digit.shape[0]) // 2, (20 - digit.shape[1]) // 2
        wanted = np.zeros((20, 20))
        wanted[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
        assert np.abs(found * 17.0 - wanted).max() <= 8.5
