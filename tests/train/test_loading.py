import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lstn.data.dataset import open_data
from lstn.errors import ImageError, TrainingError
from lstn.train.batches import loading
from lstn.train.batches.augment import Augment, Augmentation
from lstn.train.batches.loading import Images, batches, loaders_watched

CPU = torch.device("cpu")
UNKNOWN = torch.full((1, 2, 3), torch.nan)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / label / f"{number:02d}.png")
    return tmp_path


def read(images: Images, workers: int, seed: int | None = 3) -> list[tuple[bytes, int]]:
    loader = batches(images, batch_size=5, workers=workers, shuffle_seed=seed, device=CPU)
    return [
        (image.numpy().tobytes(), int(label))
        for pixels, labels, *_ in loader
        for image, label in zip(pixels, labels, strict=True)
    ]


def augmentation(kind: Augment, seed: int = 0, mirrors: bool = True) -> Augmentation:
    return Augmentation(kind, image_hw=(16, 16), mirrors=mirrors, seed=seed)


def test_images_are_those_of_torchvisions_image_folder(folder: Path) -> None:
    ours = read(Images(open_data(f"folder:{folder}", image_hw=(16, 16)).train), 0, None)
    theirs = ImageFolder(folder / "train", transform=v2.PILToTensor())
    assert ours == [(image.permute(1, 2, 0).numpy().tobytes(), label) for image, label in theirs]


@pytest.mark.parametrize("kind", ["none", "affine", "standard"])
@pytest.mark.parametrize("kept", [True, False])
def test_workers_and_memory_change_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: Augment, kept: bool
) -> None:
    split = open_data(f"folder:{folder}", image_hw=(16, 16)).train
    images = Images(split, augmentation(kind)).at(4)
    monkeypatch.setattr(loading, "KEPT_BYTES", (1 << 30) * kept)
    again = Images(split, augmentation(kind)).at(4)
    assert again.in_memory == (kept and kind == "none")
    assert read(images, 0) == read(again, 2)


@pytest.mark.parametrize("kind", ["affine", "standard"])
def test_a_change_depends_on_seed_epoch_and_image_alone(folder: Path, kind: Augment) -> None:
    split = open_data(f"folder:{folder}", image_hw=(16, 16)).train
    one = read(Images(split, augmentation(kind)).at(2), 0)
    torch.manual_seed(99)
    assert read(Images(split, augmentation(kind)).at(1).at(2), 0) == one  # as after a resume
    assert read(Images(split, augmentation(kind)).at(3), 0) != one
    assert read(Images(split, augmentation(kind, seed=1)).at(2), 0) != one
    assert read(Images(split).at(2), 0) != one


def test_augmenting_leaves_torchs_generator_alone(folder: Path) -> None:
    images = Images(open_data(f"folder:{folder}", image_hw=(16, 16)).train, augmentation("affine"))
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    _ = images.at(1).__getitems__([0, 3])
    assert torch.equal(torch.rand(3), want)


def test_standard_is_a_crop_of_the_reflected_image_mirrored_only_where_allowed() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3)).astype(np.uint8))
    for mirrors in (True, False):
        changed, _ = augmentation("standard", mirrors=mirrors)(pixels, UNKNOWN.expand(200, 2, 3), list(range(200)), 1)
        mirrored = 0
        for before, after in zip(pixels.numpy(), changed.numpy(), strict=True):
            wide = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
            crops = [wide[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
            straight = any(np.array_equal(after, crop) for crop in crops)
            assert straight or any(np.array_equal(after, crop[:, ::-1]) for crop in crops)
            mirrored += not straight
        assert (70 < mirrored < 130) if mirrors else mirrored == 0


def test_drawn_images_are_drawn_anew_for_every_epoch_and_by_any_worker_alike() -> None:
    split = open_data("digits", image_hw=(20, 20)).train
    images = Images(split)
    assert not images.in_memory
    pixels, label, *_ = images.at(3)[7]
    assert np.array_equal(pixels.numpy(), split.redrawn(3)[7][0])
    assert int(label) == split[7][1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_vanishes_in_an_epoch_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(loading, "KEPT_BYTES", 0)
    images = Images(open_data(f"folder:{folder}", image_hw=(16, 16)).train)
    (folder / "train/b/03.png").unlink()
    with pytest.raises(ImageError, match=r"03\.png: No such file") as caught:
        read(images, workers)
    assert "\n" not in caught.value.message


class Deadly:
    """A split whose reader dies, as one that runs out of memory does."""

    fingerprint = "deadly"

    def __init__(self) -> None:
        self.reader = os.getpid()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if os.getpid() != self.reader:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((4, 4, 3), np.uint8), 0

    def redrawn(self, epoch: int) -> "Deadly":
        return Deadly()


class Slow(Deadly):
    """Images that are never all there: the loader is at work until it is ended."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if os.getpid() != self.reader and index >= 2:
            time.sleep(60)
        return np.zeros((4, 4, 3), np.uint8), 0

    def redrawn(self, epoch: int) -> "Slow":
        return Slow()


def test_a_worker_that_dies_is_told() -> None:
    ended = "a process that loads images ended.*; probably memory ran out"  # torch doesn't always say how
    with pytest.raises(TrainingError, match=ended) as caught, loaders_watched():
        read(Images(Deadly()), 1)
    assert "--workers 0" in caught.value.hint


@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_dies_while_a_step_is_computed_is_told(ended_by: signal.Signals) -> None:
    """torch raises wherever the main process is, not only where it waits for a batch."""
    ended = r"a process that loads images ended \(killed by signal: (Terminated|Killed)\)"

    def step() -> None:
        with loaders_watched():
            for _ in batches(Images(Slow()), batch_size=2, workers=1, shuffle_seed=None, device=CPU):
                (loader,) = multiprocessing.active_children()
                subprocess.run(["kill", f"-{ended_by:d}", str(loader.pid)], check=True)  # as another process does
                time.sleep(60)

    with pytest.raises(TrainingError, match=ended):
        step()


def test_what_torch_says_otherwise_is_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), loaders_watched():
        raise RuntimeError("shapes differ")
