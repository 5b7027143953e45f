"""Data sets for reading, whose splits know the text in each image, symbol by symbol."""

from lstn.contract import Contract
from lstn.data.dataset import checked_for
from lstn.data.folders.layout import TABLE
from lstn.data.objects import objects_of
from lstn.data.scenes.open_scenes import open_described_scenes, open_digit_rows
from lstn.data.set_names import (
    CAPTIONS_PREFIX,
    DIGIT_CAPTIONS,
    DIGIT_NUMBERS,
    FOLDER_PREFIX,
    captions_and_images,
    folder_in,
)
from lstn.data.splits import DataSet, Split
from lstn.data.texts.captioned_photos import open_captions
from lstn.data.texts.text_folder import open_text_folder
from lstn.errors import DataError, UsageError


def open_texts(
    spec: str, *, image_hw: tuple[int, int], seed: int = 0, labels: tuple[str, ...] | None = None
) -> DataSet:
    """Open the data set that `--data` names, at the model's input size, to read the text in its images.

    Its splits are `lstn.data.objects.KnowsObjects`, whose objects are the symbols in the order of reading; thetas are
    not a number where nobody knows where they are. The classes are the alphabet. `numbers-digits` shows rows of one to
    five digits in clutter; `folder:PATH` has a table of texts (`lstn.data.texts.text_folder`). The symbols are words of
    `captions-digits`, one or two digits in clutter and a sentence, and of `captions:FILE`, COCO's caption JSON.

    labels: the alphabet of a model that was trained, of which a folder may show less; None: to train on

    Raises:
        UsageError: no such data set or folder.
        DataError: as for `lstn.data.texts.text_folder.open_text_folder`, or
            `lstn.data.texts.captioned_photos.open_captions`.
    """
    if spec == DIGIT_NUMBERS:
        return open_digit_rows(image_hw, seed)
    if spec == DIGIT_CAPTIONS:
        return open_described_scenes(image_hw, seed)
    if spec.startswith(CAPTIONS_PREFIX):
        return open_captions(*captions_and_images(spec), image_hw, seed, labels=labels)
    if spec.startswith(FOLDER_PREFIX):
        return open_text_folder(folder_in(spec), image_hw, seed, labels=labels)
    raise UsageError(
        f"{spec!r} is not a data set for reading" if spec else "the model doesn't say what it was trained on",
        hint=f"use {DIGIT_NUMBERS}, {DIGIT_CAPTIONS}, {CAPTIONS_PREFIX}FILE, or {FOLDER_PREFIX}PATH with a {TABLE} of "
        "path,text",
    )


def open_texts_of(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a reader that was trained, as `lstn.data.dataset.open_data_of`.

    Raises:
        UsageError, DataError: as for `open_texts`; or the alphabet is not the model's; a split depends on a seed that
            nobody says, when it is opened.
    """
    data = open_texts(spec, image_hw=contract.image_hw, seed=seed or 0, labels=contract.labels)
    if data.separator != contract.separator:
        kinds = [("words" if separator else "characters") for separator in (data.separator, contract.separator)]
        raise DataError(
            f"--data {spec} has texts of {kinds[0]}, and the model reads {kinds[1]}", hint="name another data set"
        )
    return checked_for(contract, data, spec, seed)


def check_lengths(split: Split, steps: int, data: str) -> None:
    """Check that a model of so many steps can read every text of a split.

    data: the data set, as `--data` names it

    Raises:
        DataError: one is longer.
    """
    found = (objects_of(split, index) for index in range(len(split)))
    longest = max((len(words) for each in found for words in (each.labels, *each.rewordings)), default=0)
    if longest > steps:
        raise DataError(
            f"--data {data}: a text of {longest} symbols, and a reader of --warps {steps} reads {steps} at most",
            hint=f"train with --warps {longest}",
        )
