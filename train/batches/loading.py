"""A split of images -> batches of tensors."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lstn.data.dataset import Split
from lstn.data.folders.checking import KEPT_BYTES
from lstn.data.folders.class_folders import FolderSplit
from lstn.data.objects import objects_of
from lstn.data.poses import pose_of
from lstn.errors import LstnError, TrainingError
from lstn.images import Pixels
from lstn.train.batches.augment import Augmentation
from lstn.train.batches.balancing import balanced_order
from lstn.train.batches.drawn_moves import Moves
from lstn.train.batches.mixing import Mixing
from lstn.train.computing.distributed import ALONE, Shares, World

NOBODY = -1
"""The label in the place of an object, where an image has fewer than another of its batch."""

_HOW_IT_ENDED = re.compile(r"killed by signal: [\w ]+|exit code -?\d+")


class ImageBatch(NamedTuple):
    """A batch, or a single image without the first axis.

    pixels: (N, H, W, 3) uint8
    labels: (N,) int64
    moves:  (N, 2, 3) float32, where they are drawn (`lstn.train.batches.drawn_moves`)
    poses:  (N, 2, 3) float32, where they are asked for; not a number of images whose pose is not known
    objects: (N, M) int64 and (N, M, 2, 3) float32, the labels and thetas of all objects, where they are asked for; of
             images with fewer than M the rest are labelled NOBODY, with the identity for theta
    targets: (N, K) float32, how much an image shows of each class, where images are mixed
    """

    pixels: Tensor
    labels: Tensor
    moves: Tensor | None = None
    poses: Tensor | None = None
    objects: tuple[Tensor, Tensor] | None = None
    targets: Tensor | None = None

    def to(self, device: torch.device) -> "ImageBatch":
        """Return the batch on another device."""

        def there(each: Tensor) -> Tensor:
            return each.to(device, non_blocking=True)

        pixels, labels = there(self.pixels), there(self.labels)
        some = (None if each is None else there(each) for each in (self.moves, self.poses, self.targets))
        moves, poses, targets = some
        objects = None if self.objects is None else (there(self.objects[0]), there(self.objects[1]))
        return ImageBatch(pixels, labels, moves, poses, objects, targets)


class Images(Dataset[ImageBatch]):
    """A split for torch's loader: read once and held in memory, if it is small and not drawn anew for every epoch.

    augment: what happens to the images on their way into a batch
    moves:   draws how each is moved for `lstn.train.batches.drawn_moves`
    mixing:  mixes whole batches
    posed:   ask the split for the true poses of its objects
    with_objects: ask the split for all objects in its images (`lstn.data.objects`)

    Numbers from its length on repeat the images: `augment` and `moves` change each repetition in another way.
    """

    def __init__(
        self,
        split: Split,
        augment: Augmentation | None = None,
        moves: Moves | None = None,
        mixing: Mixing | None = None,
        *,
        posed: bool = False,
        with_objects: bool = False,
    ) -> None:
        self._split = split
        self._moves = moves
        self._mixing = mixing
        self._posed = posed
        self._with_objects = with_objects
        self._augment = None if augment is None or augment.idle else augment
        self._epoch = 0
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None
        drawn = split.redrawn(1) is not split
        if not drawn and len(split) * split[0][0].nbytes <= KEPT_BYTES:
            self._kept = *_read_all(split), self._poses(range(len(split)))

    def at(self, epoch: int) -> "Images":
        """Return the images as training sees them in `epoch`. What is held in memory is shared."""
        other = Images.__new__(Images)
        other.__dict__.update(self.__dict__)
        other._split, other._epoch = self._split.redrawn(epoch), epoch
        return other

    @property
    def in_memory(self) -> bool:
        """Whether a batch is no more than copied: then other processes would only take time."""
        return self._kept is not None and self._augment is None and self._mixing is None

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> ImageBatch:
        pixels, labels, moves, poses, objects, _ = self._batch([index])
        moves, poses = (None if each is None else each[0] for each in (moves, poses))
        return ImageBatch(pixels[0], labels[0], moves, poses, objects and (objects[0][0], objects[1][0]))

    def __getitems__(self, indices: list[int]) -> ImageBatch | LstnError:
        """Return the batch of these images. An error is returned too: torch would bring it back with a traceback."""
        try:
            return self._batch(indices)
        except LstnError as error:
            return error

    def _batch(self, indices: list[int]) -> ImageBatch:
        places = [index % len(self._split) for index in indices]
        if self._kept is None:
            pixels, labels = _stack([self._split[place] for place in places])
            poses = self._poses(places)
        else:
            pixels, labels, poses = (kept[places] for kept in self._kept)
        objects = self._objects(places) if self._with_objects else None
        if self._augment is not None and objects is not None:
            pixels, thetas = self._augment(pixels, objects[1], indices, self._epoch)
            objects = objects[0], thetas
        elif self._augment is not None:
            pixels, poses = self._augment(pixels, poses, indices, self._epoch)
        moves = None if self._moves is None else self._moves(indices, self._epoch)
        targets = None
        if self._mixing is not None:
            pixels, targets = self._mixing(pixels, labels, indices, self._epoch)
        return ImageBatch(pixels, labels, moves, poses if self._posed else None, objects, targets)

    def _poses(self, indices: Sequence[int]) -> Tensor:
        """The true poses of these images, (N, 2, 3), not a number where they are not asked for or not known."""
        found = torch.full((len(indices), 2, 3), torch.nan)
        for place, index in enumerate(indices if self._posed else ()):
            if (pose := pose_of(self._split, index)) is not None:
                found[place] = torch.from_numpy(pose.theta)
        return found

    def _objects(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The objects of these images, as many for each as the one with most has."""
        found = [objects_of(self._split, index) for index in indices]
        most = max(1, *(len(each) for each in found)) if found else 1
        labels = torch.full((len(found), most), NOBODY)
        thetas = torch.eye(2, 3).repeat(len(found), most, 1, 1)
        for place, each in enumerate(found):
            labels[place, : len(each)] = torch.from_numpy(each.labels)
            thetas[place, : len(each)] = torch.from_numpy(each.thetas)
        return labels, thetas


class Loader(DataLoader[ImageBatch]):
    """torch's loader; an image that a worker process can't read ends in its error."""

    def __iter__(self) -> Iterator[ImageBatch]:  # type: ignore[override]
        """Yield the batches.

        Raises:
            ImageError: a file that can't be read any more.
        """
        for batch in super().__iter__():
            if isinstance(batch, LstnError):
                raise batch
            yield batch


@contextmanager
def loaders_watched(world: World = ALONE) -> Iterator[None]:
    """Turn the end of a process that loads images into one error, wherever this process is then.

    torch raises from a signal handler, so in the middle of a step as well as where a batch is waited for. Of several
    processes, whose end ends the loaders of the others, `lstn.train.computing.distributed` says so.

    Raises:
        TrainingError: a process that loads images ended.
    """
    try:
        yield
    except RuntimeError as error:
        if world.size > 1 or "DataLoader worker" not in str(error):
            raise
        how = _HOW_IT_ENDED.search(str(error))
        raise TrainingError(
            f"a process that loads images ended{f' ({how[0]})' if how else ''}; probably memory ran out",
            hint="continue with fewer --workers, or with --workers 0, which loads images without other processes",
        ) from error


def batches(
    images: Images,
    *,
    batch_size: int,
    workers: int,
    shuffle_seed: int | None,
    device: torch.device,
    world: World = ALONE,
    balance: Tensor | None = None,
) -> Loader:
    """Return one epoch's batches: in order, or shuffled by `shuffle_seed` alone, as a resumed run needs it.

    Of each batch a process of `world` gets its share.

    balance: the labels of the images, (N,) int64, for shuffled batches of as many images of one class as of another
    """
    generator = torch.Generator().manual_seed(shuffle_seed) if shuffle_seed is not None else None
    draw = None if balance is None else partial(balanced_order, balance)
    return Loader(
        images,
        batch_sampler=Shares(len(images), batch_size, generator, world, draw),
        collate_fn=_as_it_is,
        generator=generator,
        num_workers=0 if images.in_memory else workers,
        pin_memory=device.type == "cuda",
    )


def _as_it_is(batch: Any) -> Any:
    """`__getitems__` gives a whole batch, for which torch's types have no word."""
    return batch


def _read_all(split: Split) -> tuple[Tensor, Tensor]:
    if isinstance(split, FolderSplit) and split.pixels is not None:
        return torch.from_numpy(split.pixels), torch.tensor([label for _, label in split.files])
    first, _ = split[0]
    pixels = np.empty((len(split), *first.shape), np.uint8)
    labels = np.empty(len(split), np.int64)

    def read(index: int) -> None:
        pixels[index], labels[index] = split[index]

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(split))):
            pass
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def _stack(rows: list[tuple[Pixels, int]]) -> tuple[Tensor, Tensor]:
    pixels, labels = zip(*rows, strict=True)
    return torch.from_numpy(np.stack(pixels)), torch.tensor(labels)
