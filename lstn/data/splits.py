"""Data sets as every stage sees them: class names, and splits of (pixels, label) that can be indexed."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

from lstn.contract import IMAGENET_MEAN, IMAGENET_STD, Separator
from lstn.errors import LstnError, UsageError
from lstn.images import Pixels

SplitName: TypeAlias = Literal["train", "val", "test"]

AnySplit: TypeAlias = Literal["train", "val", "test", "all"]
"""`all` is every image of a folder, whatever its split, for a model that was trained on none of them."""

SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")


def spaced(count: int, most: int) -> list[int]:
    """Return up to `most` of the numbers 0 to `count` - 1, evenly spaced, the first and the last among them."""
    return [index * (count - 1) // max(1, min(count, most) - 1) for index in range(min(count, most))]


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
    by_seed:   the splits whose images depend on the seed; with another seed, training images are tested
    test_is_val: there are no test images, and the validation images are tested instead
    open_all:  opens every image as one split; None where that isn't possible
    found:     what a folder holds and what was left out, in one line; empty for published sets
    separator: of texts, what stands between their symbols: nothing, or a space if they are words
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
        by_seed: frozenset[SplitName] = frozenset(),
        test_is_val: bool = False,
        open_all: Callable[[], Split] | None = None,
        found: str = "",
        separator: Separator = "",
    ) -> None:
        self.labels = labels
        self.mean, self.std = mean, std
        self.mirrors = mirrors
        self.parts = parts
        self.by_seed, self.test_is_val = by_seed, test_is_val
        self.found = found
        self.separator = separator
        self._open_all = open_all
        self._open_split = open_split

    def refuse_splits(self, names: frozenset[SplitName], error: LstnError) -> None:
        """Raise `error` when one of these splits is opened."""
        opened = self._open_split

        def open_split(name: SplitName) -> Split:
            if name in names:
                raise error
            return opened(name)

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

    @property
    def whole(self) -> bool:
        """Return whether every image can be opened as one split, `all`."""
        return self._open_all is not None

    def split(self, name: AnySplit) -> Split:
        """Return the split of this name.

        Raises:
            UsageError: `all` of a set that can't be opened as one.
        """
        if name != "all":
            return {"train": lambda: self.train, "val": lambda: self.val, "test": lambda: self.test}[name]()
        if self._open_all is None:
            raise UsageError(
                "--split all is for folders of images alone, which this data set is not",
                hint="use --split train, val or test",
            )
        return self._open_all()
