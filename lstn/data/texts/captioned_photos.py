"""Photographs with captions: the splits of `captions:FILE` for reading, whose symbols are words."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lstn.contract import MAX_LABELS
from lstn.data.folders.class_folders import FolderSplit, decodable
from lstn.data.folders.division import held_back
from lstn.data.objects import Objects
from lstn.data.splits import SPLIT_NAMES, AnySplit, DataSet, SplitName
from lstn.data.texts.caption_json import CaptionedImage, read_captions
from lstn.data.texts.caption_words import LEAST_COUNT, UNKNOWN, vocabulary
from lstn.errors import DataError, UsageError
from lstn.images import Pixels
from lstn.report.wording import counted
from lstn.terminal import warn

_FEWEST = 3

_Words = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedSplit:
    """Image files, decoded when they are read, and what people said of each.

    captions:    of each image the words of each caption, by their numbers in the vocabulary
    fingerprint: a hash of what is in the files, in their order, and of the captions
    split:       which images they are
    first:       the number of the caption that an image's text is: another one in each epoch of training
    """

    images: FolderSplit
    captions: tuple[tuple[_Words, ...], ...]
    fingerprint: str
    split: AnySplit
    first: int = 0

    @property
    def files(self) -> tuple[tuple[Path, int], ...]:
        """The files, and the first word of each."""
        return self.images.files

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return self.images[index]

    def objects(self, index: int) -> Objects:
        """Return the words of a caption of image `index`, whose places nobody knows, and the other captions."""
        said = self.captions[index]
        first = self.first % len(said)
        words, *others = (*said[first:], *said[:first])
        return Objects(words, np.full((len(words), 2, 3), np.nan, np.float32), tuple(others))

    def redrawn(self, epoch: int) -> "CaptionedSplit":
        """Files stay what they are; of the training images the next caption is the text."""
        return replace(self, first=epoch) if self.split == "train" and epoch != self.first else self


def open_captions(
    file: Path, folder: Path, image_hw: tuple[int, int], seed: int, *, labels: tuple[str, ...] | None = None
) -> DataSet:
    """Open a file of captions, COCO's JSON, which is divided 80/10/10 by `seed`, image by image.

    The vocabulary is of the words that training captions have often enough (`caption_words`); others are UNKNOWN.

    labels: the vocabulary of a model that was trained; None: to train on

    Raises:
        UsageError: no such file or folder.
        DataError: as for `read_captions`; too few images; no word that is there often enough; or one that a model
            without an unknown word doesn't have.
            When a split is opened: too many broken images.
    """
    for path, kind, there in ((file, "file of captions", file.is_file()), (folder, "folder", folder.is_dir())):
        if not there:
            raise UsageError(f"{path}: no such {kind}", hint="expected captions:FILE, or captions:FILE,FOLDER")
    splits = _divided(read_captions(file, folder), file, seed, trained=labels is not None)
    training = (words for image in splits.get("train", []) for words in image.captions)
    known = labels or vocabulary(training)
    if known == (UNKNOWN,):
        raise DataError(f"{file}: no word is in the training captions {LEAST_COUNT} times", hint="add captions")
    if len(known) > MAX_LABELS:
        raise DataError(f"{file}: {counted(len(known), 'word')}; a model has {MAX_LABELS} at most")
    every = [image for images in splits.values() for image in images]
    numbers = {word: number for number, word in enumerate(known)}
    found = _described(file, every, numbers)

    def opened(images: list[CaptionedImage], split: AnySplit) -> CaptionedSplit:
        return _opened(images, split, numbers, image_hw, file)

    return DataSet(
        known,
        lambda split: opened(splits.get(split, []), split),
        parts=f"80/10/10, seed {seed}",
        by_seed=frozenset(SPLIT_NAMES),
        open_all=lambda: opened(every, "all"),
        found=found,
        separator=" ",
    )


def _divided(
    images: list[CaptionedImage], file: Path, seed: int, *, trained: bool
) -> dict[SplitName, list[CaptionedImage]]:
    if len(images) < _FEWEST:
        if trained:
            return {"test": images}
        raise DataError(f"{file}: {counted(len(images), 'image')}, too few for train, val and test", hint="add some")
    by_path = {image.path: image for image in images}
    rest, val = held_back("", sorted(by_path), seed)
    train, test = held_back("", rest, seed)
    return {
        split: [by_path[path] for path in paths] for split, paths in zip(SPLIT_NAMES, (train, val, test), strict=True)
    }


def _described(file: Path, images: list[CaptionedImage], numbers: dict[str, int]) -> str:
    """Return what was found, in one line, with the share of words that are not in the vocabulary."""
    said = [(word, image) for image in images for caption in image.captions for word in caption]
    strange = [(word, image) for word, image in said if word not in numbers]
    if strange and UNKNOWN not in numbers:
        word, image = strange[0]
        raise DataError(
            f"{image.place}: {word!r:.60} is none of the {counted(len(numbers), 'word')} of the vocabulary",
            hint="remove the caption, or train with it",
        )
    captions = sum(len(image.captions) for image in images)
    longest = max(len(caption) for image in images for caption in image.captions)
    return (
        f"{file}: {counted(captions, 'caption')} of {counted(len(images), 'image')}, up to {counted(longest, 'word')}; "
        f"{counted(len(numbers), 'different one')}, and {len(strange)} of {len(said)} words are none of them"
    )


def _opened(
    images: list[CaptionedImage], split: AnySplit, numbers: dict[str, int], image_hw: tuple[int, int], file: Path
) -> CaptionedSplit:
    """Check every image of a split."""
    if not images:
        raise DataError(f"{file}: no {split} images", hint="name another split, or add some")
    unknown = numbers.get(UNKNOWN, -1)

    def numbered(words: tuple[str, ...]) -> _Words:
        return np.array([numbers.get(word, unknown) for word in words], np.int64)

    said = {image.path: tuple(map(numbered, image.captions)) for image in images}
    decoded, broken = decodable([(path, int(words[0][0])) for path, words in said.items()], split, image_hw)
    if broken:
        warn(broken)
    captions = tuple(said[path] for path, _ in decoded.files)
    digest = hashlib.sha256(decoded.fingerprint.encode())
    for words in captions:
        digest.update(b"".join(b"%d %b" % (len(each), each.tobytes()) for each in words))
    return CaptionedSplit(decoded, captions, digest.hexdigest(), split)
