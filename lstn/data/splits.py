"""What a data set is to every stage: class names, and splits of (pixels, label) that can be indexed."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD
from lstn.images import Pixels

SplitName: TypeAlias = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


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
    mirrors:   a mirrored image still shows its class, which is not so with digits and traffic signs
    parts:     how the images were divided into splits, in words, for the checkpoint's history
    split_by_seed: which image is in which split hangs on the seed; with another, training images are tested
    test_is_val:   there are no test images, and the validation images stand in for them
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        open_split: Callable[[SplitName], Split],
        *,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        mirrors: bool = True,
        parts: str = "",
        split_by_seed: bool = False,
        test_is_val: bool = False,
    ) -> None:
        self.labels = labels
        self.mean, self.std = mean, std
        self.mirrors = mirrors
        self.parts = parts
        self.split_by_seed, self.test_is_val = split_by_seed, test_is_val
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
