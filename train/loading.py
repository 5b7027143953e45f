"""A split of images -> batches of tensors."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lstn.data import Split

CACHE_BYTES = 1 << 30
"""A split that takes no more than this as uint8 pixels is decoded once and kept in memory."""

Batch = tuple[Tensor, Tensor]
"""pixels (N, H, W, 3) uint8, labels (N,) int64."""


class Images(Dataset[Batch]):
    """A split for torch's loader: small ones are held in memory, large ones decoded as they are read."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.in_memory = len(split) * split[0][0].nbytes <= CACHE_BYTES
        if self.in_memory:
            with ThreadPoolExecutor() as pool:
                self._cache = list(pool.map(self._read, range(len(split))))

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Batch:
        return self._cache[index] if self.in_memory else self._read(index)

    def _read(self, index: int) -> Batch:
        pixels, label = self._split[index]
        return torch.from_numpy(pixels.copy()), torch.tensor(label)


def batches(
    images: Images, *, batch_size: int, workers: int, shuffle_seed: int | None, device: torch.device
) -> DataLoader[Batch]:
    """Return one epoch's batches: in order, or shuffled by `shuffle_seed` alone, as a resumed run needs it."""
    generator = torch.Generator().manual_seed(shuffle_seed) if shuffle_seed is not None else None
    return DataLoader(
        images,
        batch_size=batch_size,
        shuffle=generator is not None,
        generator=generator,
        # BatchNorm can't be fitted to a batch of one: it would divide by zero on 1x1 feature maps.
        drop_last=generator is not None and len(images) % batch_size == 1 < len(images),
        num_workers=0 if images.in_memory else workers,
        pin_memory=device.type == "cuda",
    )
