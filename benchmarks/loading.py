"""Measure how fast images reach a training step: ours against torchvision's ImageFolder and torch's DataLoader.

    python benchmarks/loading.py --folder PATH [--image-size 224] [--workers 2] [--rounds 5] [--json FILE]

PATH/<class>/* are the images of one split; both sides resize them to the same square and shuffle. Ours is measured
while it decodes (as in the first epoch, and in all of a set too large for memory) and once it holds the images. The
three take turns, so that whatever else the machine does hits all; ratios are paired by round.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lstn.folders import FolderSplit
from lstn.images import SUFFIXES
from lstn.train import loading
from lstn.train.loading import Images, batches

BATCH = 32
CPU = torch.device("cpu")
THEIRS, DECODING, HELD = "ImageFolder + DataLoader", "lstn, decoding", "lstn, held in memory"


def main() -> None:
    """Check that both give the same pixels, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()

    hw = (arguments.image_size, arguments.image_size)
    theirs = ImageFolder(arguments.folder, transform=v2.Compose([v2.Resize(hw), v2.PILToTensor()]))
    files = tuple((Path(path), label) for path, label in theirs.samples if Path(path).suffix.lower() in SUFFIXES)
    split = FolderSplit(files, hw, fingerprint="")
    held = Images(split)
    loading.CACHE_BYTES, kept = 0, loading.CACHE_BYTES
    decoding = Images(split)
    loading.CACHE_BYTES = kept
    assert held.in_memory, "too many images for memory at this size"
    different = sum(not torch.equal(theirs[i][0].permute(1, 2, 0), held[i][0]) for i in range(0, len(split), 97))

    passes: dict[str, Callable[[int], int]] = {
        THEIRS: lambda seed: count(theirs_at(theirs, seed, arguments.workers)),
        DECODING: lambda seed: count(batches_of(decoding, seed, arguments.workers)),
        HELD: lambda seed: count(batches_of(held, seed, arguments.workers)),
    }
    rates = measure(passes, arguments.rounds)
    cores = len(os.sched_getaffinity(0))
    print(f"{len(split)} images to {hw[0]} x {hw[1]}, batch {BATCH}, {arguments.workers} workers, {cores} cores")
    print(f"  of every 97th image, {different} differ between the two")
    for name, values in rates.items():
        ratios = np.array(values) / np.array(rates[THEIRS])
        spread = f"{ratios.min():.2f} to {ratios.max():.2f}"
        print(f"  {name:<26} {np.median(values):9.0f} images/s   x {np.median(ratios):.2f} ({spread})")
    if arguments.json:
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "machine": platform.machine()}
        setting = {"images": len(split), "image_size": hw[0], "workers": arguments.workers, "cores": cores}
        arguments.json.write_text(json.dumps(versions | setting | {"images_per_s": rates}))


def theirs_at(images: ImageFolder, seed: int, workers: int) -> DataLoader:
    """Return the loader of torch's documentation."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(images, batch_size=BATCH, shuffle=True, generator=generator, num_workers=workers)


def batches_of(images: Images, seed: int, workers: int) -> DataLoader:
    """Return the loader of `lstn train`."""
    return batches(images, batch_size=BATCH, workers=workers, shuffle_seed=seed, device=CPU)


def count(loader: DataLoader) -> int:
    """Run one epoch, and return the number of its images."""
    return sum(len(labels) for _, labels in loader)


def measure(passes: dict[str, Callable[[int], int]], rounds: int) -> dict[str, list[float]]:
    """Return images/s of every round; within a round each takes its turn, in alternating order, after one warm-up."""
    rates: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(-1, rounds):
        for name in list(passes)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            images = passes[name](number + 1)
            if number >= 0:
                rates[name].append(images / (time.perf_counter() - began))
    return rates


if __name__ == "__main__":
    main()
