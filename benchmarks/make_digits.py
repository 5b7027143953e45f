"""Make lstn/data/digits.npz, the embedded data set, from MNIST's four files: the same bytes every time.

    python -m benchmarks make_digits ROOT [--out FILE]

ROOT/MNIST/raw holds the files, as `lstn train --data mnist --data-root ROOT` downloads them.

Needs: MNIST's files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.support.arguments import argument_parser
from lstn.data.digits import RASTER
from lstn.data.published.mnist import open_mnist_files
from lstn.files import replacing

RESULT = "lstn/data/digits.npz"
ROOT = Path(__file__).parents[1]

_TRAIN, _VAL, _TEST_EVERY = 10_000, 1_000, 10
"""The first of MNIST's training file, the last of it, and every tenth of the test file: easy ones come first there."""

_Bytes = npt.NDArray[np.uint8]


def main(words: Sequence[str]) -> None:
    """Read, crop, reduce, pack and write."""
    parser = argument_parser(__name__, __doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / RESULT)
    arguments = parser.parse_args(words)
    (images, labels), (test_images, test_labels) = open_mnist_files(arguments.root)
    chosen = np.concatenate([images[:_TRAIN], images[-_VAL:], test_images[::_TEST_EVERY]])
    names = np.concatenate([labels[:_TRAIN], labels[-_VAL:], test_labels[::_TEST_EVERY]])
    packed = np.stack([pack(boxed(image)) for image in chosen])
    with replacing(arguments.out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, images=packed, labels=names)
    print(f"{arguments.out}: {len(names)} digits, {arguments.out.stat().st_size} bytes")


def boxed(image: _Bytes) -> _Bytes:
    """(28, 28) -> the digit's bounding box in the middle of (20, 20): MNIST's digits fit, by its making."""
    rows, columns = np.nonzero(image)
    digit = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    box = np.zeros((RASTER, RASTER), np.uint8)
    top, left = ((RASTER - side) // 2 for side in digit.shape)
    box[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return box


def pack(box: _Bytes) -> _Bytes:
    """Gray levels 0..255, (20, 20) -> 0..15, two pixels a byte, the left one in the high four bits, (20, 10)."""
    levels = np.rint(box / 17).astype(np.uint8)
    return levels[:, ::2] << 4 | levels[:, 1::2]
