"""Measure how fast images reach a training step: ours against torchvision's ImageFolder and torch's DataLoader.

    python -m benchmarks loading --folder PATH [--image-size 224] [--workers 2] [--rounds 5]
                                 [--out results/loading/loading.json]

PATH/<class>/* are the images of one split; both sides resize them to the same square and shuffle. Ours is measured
while it decodes (as in the first epoch, and in all of a set too large for memory) and once it holds the images. The
three take turns, so that whatever else the machine does hits all; ratios are paired by round.

Needs: a folder of images, one folder for each class.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.support.arguments import argument_parser
from benchmarks.support.result_files import machine_of, spread, versions_of, write_result
from lstn.data.folders.class_folders import FolderSplit
from lstn.images import readable_suffixes
from lstn.machine.cores import usable_cores
from lstn.report.table import markdown_table
from lstn.train.batches import loading
from lstn.train.batches.loading import Images, batches

RESULT = "results/loading/loading.json"
BATCH = 32
LIBRARIES = ("torch", "torchvision", "pillow")
CPU = torch.device("cpu")
THEIRS, DECODING, HELD = "ImageFolder + DataLoader", "lstn, decoding", "lstn, held in memory"


def main(words: Sequence[str]) -> None:
    """Check that both give the same pixels, measure, print."""
    parser = argument_parser(__name__, __doc__, out=RESULT)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(words)

    hw = (arguments.image_size, arguments.image_size)
    theirs = ImageFolder(arguments.folder, transform=v2.Compose([v2.Resize(hw), v2.PILToTensor()]))
    suffixes = readable_suffixes()
    files = tuple((Path(path), label) for path, label in theirs.samples if Path(path).suffix.lower() in suffixes)
    split = FolderSplit(files, hw, fingerprint="")
    held = Images(split)
    loading.KEPT_BYTES, kept = 0, loading.KEPT_BYTES
    decoding = Images(split)
    loading.KEPT_BYTES = kept
    assert held.in_memory, "too many images for memory at this size"
    different = sum(not torch.equal(theirs[i][0].permute(1, 2, 0), held[i][0]) for i in range(0, len(split), 97))

    passes: dict[str, Callable[[int], int]] = {
        THEIRS: lambda seed: count(theirs_at(theirs, seed, arguments.workers)),
        DECODING: lambda seed: count(batches_of(decoding, seed, arguments.workers)),
        HELD: lambda seed: count(batches_of(held, seed, arguments.workers)),
    }
    setting = {"images": len(split), "image_size": hw[0], "batch": BATCH, "workers": arguments.workers}
    rates = measure(passes, arguments.rounds)
    result = setting | {"different": different, "cores": usable_cores(), "images_per_s": rates} | machine_of(LIBRARIES)
    print(page_of(result))
    write_result(arguments.out, result, page_of(result))


def page_of(result: dict[str, Any]) -> str:
    """Return the result in Markdown."""
    rates = result["images_per_s"]
    ratios = {name: [a / b for a, b in zip(own, rates[THEIRS], strict=True)] for name, own in rates.items()}
    rows = [(name, f"{statistics.median(own):.0f}", spread(ratios[name], 2)) for name, own in rates.items()]
    columns = ("", "images/s, median", "times ImageFolder's, paired by round: median (least to most)")
    side, every = result["image_size"], len(rates[THEIRS])
    lines = [
        "# How fast images reach a training step",
        "",
        f"`python -m benchmarks loading`: {result['images']} image files to {side} x {side} pixels, "
        f"{result['batch']} a batch, {result['workers']} workers, {every} rounds in turn.",
        f"Of every 97th image, {result['different']} differ between the two.",
        "",
        markdown_table(columns, rows),
        "",
        f"{result['cpu']}, {result['cores']} cores, {versions_of(result)}.",
    ]
    return "\n".join(lines) + "\n"


def theirs_at(images: ImageFolder, seed: int, workers: int) -> DataLoader:
    """Return the loader of torch's documentation."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(images, batch_size=BATCH, shuffle=True, generator=generator, num_workers=workers)


def batches_of(images: Images, seed: int, workers: int) -> DataLoader:
    """Return the loader of `lstn train`."""
    return batches(images, batch_size=BATCH, workers=workers, shuffle_seed=seed, device=CPU)


def count(loader: DataLoader) -> int:
    """Run one epoch, and return the number of its images."""
    return sum(len(labels) for _, labels, *_ in loader)


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
