"""Data sets, free of torch: `digits`, scenes, `folder:PATH` or the name of a published set -> classes and splits.

A split is an indexable sequence of (pixels (H, W, 3) uint8 RGB, label). Training wraps one for loading; export,
calibration, evaluation and the demo read it as it is.
"""

from dataclasses import dataclass

from lstn.contract import Contract
from lstn.data.digits import DIGIT_EPOCHS, DIGIT_LABELS, DIGIT_MEAN, DIGIT_SIZE, DIGIT_STD, Digits
from lstn.data.folders.class_folders import open_folder
from lstn.data.folders.layout import lists_test
from lstn.data.published.mnist import MNIST_SETS, MNIST_SIDES, open_mnist
from lstn.data.published.named_sets import open_named
from lstn.data.scenes.open_scenes import (
    DESCRIBED_SIDE,
    MOST_DIGITS,
    NUMBER_SIDE,
    SCENE_DIGIT_EPOCHS,
    SCENE_SIDE,
    open_digit_scenes,
    open_folder_scenes,
    open_sign_scenes,
)
from lstn.data.scenes.scene_sentences import LONGEST
from lstn.data.set_names import (
    CAPTIONS_PREFIX,
    DIGIT_CAPTIONS,
    DIGIT_NUMBERS,
    DIGIT_SCENES,
    FOLDER_PREFIX,
    SCENES_PREFIX,
    SIGN_SCENES,
    folder_in,
    located,
    named,
    objects_and_backgrounds,
    rooted,
    set_and_root,
    unknown_set,
)
from lstn.data.splits import DataSet, Split
from lstn.errors import DataError, UsageError
from lstn.imaging.framing import STRETCHED, Framing, framing_of
from lstn.report.wording import counted

__all__ = [
    "DataSet",
    "Split",
    "Usual",
    "check_labels",
    "located",
    "named",
    "open_data",
    "open_data_of",
    "require_test",
    "rooted",
    "set_and_root",
    "usual",
]

CAPTION_WORDS = 20
"""Of the longest caption of photographs, unless the user says another number."""

FILES_OF = {SIGN_SCENES: "gtsrb"}
"""Sets that are made of another one's files."""


def open_data(
    spec: str,
    *,
    image_hw: tuple[int, int],
    seed: int = 0,
    labels: tuple[str, ...] | None = None,
    framing: Framing = STRETCHED,
    tolerant: bool = False,
) -> DataSet:
    """Open the data set that `--data` names, at the model's input size.

    `digits` is embedded (see `lstn.data.digits`); `folder:PATH` reads PATH/{train,val,test}/<class>/*, where validation
    images are tested if there is no test/, with a warning; a folder without these splits, PATH/<class>/*, is split
    80/10/10 per class by `seed` (`lstn.data.folders.division`).
    `scenes-digits`, `scenes-signs` and `scenes:OBJECTS,BACKGROUNDS` show one object each, at any place, size and angle
    (`lstn.data.scenes`).
    NAME or NAME:ROOT is a published set whose files lie below ROOT, by default the user's cache folder: `cifar10`,
    `caltech101`, `gtsrb` and `svhn`, unpacked when they are first opened; `mnist`, and drawn from it `mnist-r`,
    `mnist-rts`, `mnist-p`, `mnist-e` and `mnist-cluttered` (see `lstn.data.distortion`).

    labels: the classes of a model that was trained, of which a folder may have fewer; None: to train on
    framing: how files become images of that size; what is drawn is drawn at it
    tolerant: open what decodes of a folder, however little: its splits say what does not

    Raises:
        UsageError: no such data set or folder; or objects and backgrounds of scenes are not two folders.
        DataError: no classes, an empty class, an unknown class in val or test, too many broken images, or a class
            whose training images all are; the files of a published set aren't there, aren't the official ones, or can't
            be unpacked there.
    """
    if not spec:
        raise UsageError("the model doesn't say what it was trained on", hint="name its data set: --data folder:PATH")
    if spec == "digits":
        return DataSet(
            DIGIT_LABELS,
            lambda split: Digits(split, image_hw=image_hw, seed=seed),
            mean=DIGIT_MEAN,
            std=DIGIT_STD,
            mirrors=False,
            parts="10,000, 1,000 and 1,000 digits of MNIST, the last from its test file",
        )
    if spec.startswith(FOLDER_PREFIX):
        return open_folder(folder_in(spec), image_hw, seed, labels=labels, framing=framing, tolerant=tolerant)
    if spec == DIGIT_SCENES:
        return open_digit_scenes(image_hw, seed)
    if spec.startswith(SCENES_PREFIX):
        return open_folder_scenes(*objects_and_backgrounds(spec), image_hw, seed, labels)
    if named := set_and_root(spec):
        name, root = named
        if name == SIGN_SCENES:
            return open_sign_scenes(root, image_hw, seed)
        if name in MNIST_SETS:
            return open_mnist(name, root, image_hw, seed)
        return open_named(name, root, image_hw, labels, framing)
    raise unknown_set(spec)


def open_data_of(contract: Contract, spec: str, *, seed: int | None) -> DataSet:
    """Open the data set that `--data` names for a model that was trained: at its input size, numbered by its classes.

    A folder may have fewer classes than the model, and only some of the splits.

    seed: what it was trained with; None: nobody says, which is 0 unless it decides what the model was trained on: then
          these splits can't be opened

    Raises:
        UsageError, DataError: as for `open_data`; or the classes are not the model's; a split depends on a seed that
            nobody says, when it is opened.
    """
    hw, framing = contract.image_hw, framing_of(contract)
    data = open_data(spec, image_hw=hw, seed=seed or 0, labels=contract.labels, framing=framing)
    return checked_for(contract, data, spec, seed)


def checked_for(contract: Contract, data: DataSet, spec: str, seed: int | None) -> DataSet:
    """Return a data set for a model that was trained: of its classes, and without splits that nobody can tell apart.

    Raises:
        DataError: the classes are not the model's. UsageError: when a split is opened that depends on a seed of None.
    """
    check_labels(contract, data, spec)
    if seed is None and data.by_seed:
        data.refuse_splits(
            data.by_seed,
            UsageError(
                f"--data {spec} is split by a seed, and this file doesn't say which one its model was trained with",
                hint="add --seed N, as given to lstn train, or else 0: with another, training images are among them",
            ),
        )
    return data


@dataclass(frozen=True, slots=True)
class Usual:
    """What a data set is trained with unless the user says otherwise.

    image_size: side of the images in pixels; None: what the backbone was made for
    symbols:    of the longest text
    """

    image_size: int | None = None
    epochs: int = 25
    symbols: int = 8


def usual(spec: str) -> Usual:
    """Return what the data set that `--data` names is usually trained with; nothing is opened or checked."""
    if spec == "digits":
        return Usual(DIGIT_SIZE, DIGIT_EPOCHS)
    if spec == DIGIT_SCENES:
        return Usual(SCENE_SIDE, SCENE_DIGIT_EPOCHS)
    if spec == DIGIT_NUMBERS:
        return Usual(NUMBER_SIDE, symbols=MOST_DIGITS)
    if spec == DIGIT_CAPTIONS:
        return Usual(DESCRIBED_SIDE, symbols=LONGEST)
    if spec.startswith(CAPTIONS_PREFIX):
        return Usual(symbols=CAPTION_WORDS)
    named = set_and_root(spec)
    if spec.startswith(SCENES_PREFIX) or (named and named[0] == SIGN_SCENES):
        return Usual(SCENE_SIDE)
    return Usual(MNIST_SIDES[named[0]]) if named and named[0] in MNIST_SIDES else Usual()


def check_labels(contract: Contract, data: DataSet, spec: str) -> None:
    """Refuse a data set of other classes than the model's, or in another order; `spec` is its name.

    Raises:
        DataError: it is one.
    """
    if data.labels != contract.labels:
        ours, theirs = (
            f"{counted(len(labels), 'class')}, {labels[0]!r:.40} first" for labels in (contract.labels, data.labels)
        )
        raise DataError(
            f"--data {spec} has {theirs}; the model has {ours}", hint="name the data set that the model was trained on"
        )


def require_test(spec: str) -> None:
    """Check that a set has test images of its own, before anything is trained to be compared on them.

    Raises:
        UsageError: a folder with train/ and val/ alone, whose validation images would choose the epoch and test it.
    """
    root = objects_and_backgrounds(spec)[0] if spec.startswith(SCENES_PREFIX) else None
    root = folder_in(spec) if spec.startswith(FOLDER_PREFIX) else root
    if root is not None and root.is_dir() and not lists_test(root):
        raise UsageError(f"{root}: no test/, and validation images choose the epoch", hint=f"make {root / 'test'}")
