"""Classes of different sizes, made to count alike: by weights in the loss, or by how often their images come up."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lstn.data.folders.class_folders import FolderSplit
from lstn.data.splits import Split


def labels_of(split: Split) -> Tensor:
    """Return the label of each image, (N,) int64. Images are read for it only where no list says what they show."""
    if isinstance(split, FolderSplit):
        return torch.tensor([label for _, label in split.files])
    with ThreadPoolExecutor() as pool:
        return torch.tensor(list(pool.map(lambda index: split[index][1], range(len(split)))))


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return by what an image of each class counts in the loss, (K,) float32: n / (K n_c), whose mean over images is 1.

    labels: (N,) int64; a class that none of them names gets 0, and counts in no mean
    """
    counts = torch.bincount(labels, minlength=classes).double()
    shown = counts > 0
    return torch.where(shown, len(labels) / (shown.sum() * counts), 0.0).float()


def balanced_order(labels: Tensor, generator: torch.Generator) -> list[int]:
    """Return N numbers of images, in which each class comes up N / K times, up or down to a whole number.

    All images of a class come up before one is repeated. The first repetition of image i is number i + N, the second
    i + 2 N: so augmentation, which depends on the number, changes it in another way.
    """
    count, classes = len(labels), torch.bincount(labels).nonzero().flatten()
    drawn = []
    for place, chosen in enumerate(torch.randperm(len(classes), generator=generator)):
        own = (labels == classes[chosen]).nonzero().flatten()
        wanted = count // len(classes) + (place < count % len(classes))
        turns = range(-(-wanted // len(own)))
        shuffled = [own[torch.randperm(len(own), generator=generator)] + turn * count for turn in turns]
        drawn.append(torch.cat([*shuffled, own[:0]])[:wanted])
    order: list[int] = torch.cat(drawn)[torch.randperm(count, generator=generator)].tolist()
    return order
