import numpy as np
import pytest
from sklearn.datasets import load_digits

from lstn.data import digits
from lstn.data.dataset import open_data


def test_embedded_digits_are_those_of_scikit_learn() -> None:
    original = load_digits()
    images, labels = digits._load()
    assert np.array_equal(images, original.images)
    assert np.array_equal(labels, original.target)


def test_digit_splits_are_disjoint_balanced_and_complete() -> None:
    data = open_data("digits", image_hw=(32, 32))
    numbers = [set(split._numbers) for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert sum(map(len, numbers)) == len(set.union(*numbers)) == 1797
    for split, share in ((data.train, 4 / 6), (data.val, 1 / 6), (data.test, 4 / 6)):  # the test shows each four times
        labels = np.array([split[i][1] for i in range(len(split))])
        counts = np.bincount(labels, minlength=10)
        assert np.abs(counts - 179.7 * share).max() < 9


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
    """The affine drawing against scikit-learn's raster: 8 cells onto 80 pixels, so cell centres are pixel centres."""
    raster = digits._load()[0][5]
    drawn = np.asarray(digits._paste(raster, (80, 80), (40, 40), 80, 0.0)).reshape(8, 10, 8, 10).mean((1, 3))
    assert np.corrcoef(drawn.ravel(), raster.ravel())[0, 1] > 0.98
