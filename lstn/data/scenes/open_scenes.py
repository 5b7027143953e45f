"""Data sets of scenes: the embedded digits, traffic signs or a folder's objects, in clutter or in photographs."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from lstn.data.digits import DIGIT_LABELS
from lstn.data.folders.checking import check_images, few_broken
from lstn.data.folders.class_folders import FolderSplit, open_folder
from lstn.data.folders.listing import Skipped, images_below
from lstn.data.published.named_sets import open_named
from lstn.data.scenes.backgrounds import Backgrounds, DrawnBackgrounds, PhotoBackgrounds
from lstn.data.scenes.cut_objects import CutObjects, Outline
from lstn.data.scenes.described_scenes import DescribedScenes
from lstn.data.scenes.digit_objects import DigitObjects
from lstn.data.scenes.placing import in_row
from lstn.data.scenes.scene_sentences import WORDS
from lstn.data.scenes.scene_split import SceneObjects, SceneSplit
from lstn.data.scenes.sign_outlines import sign_mask
from lstn.data.splits import DataSet, SplitName
from lstn.errors import DataError, UsageError
from lstn.report.wording import counted
from lstn.terminal import warn

SCENE_SIDE = 224
"""The side in pixels of a scene, unless the user says another. An object in it is 40 to 112 pixels long."""

SCENE_DIGIT_EPOCHS = 10

NUMBER_SIDE, MOST_DIGITS = 128, 5
"""The side in pixels of a picture of a number, unless the user says another; and digits of a number. A digit in it is
18 to 43 pixels high."""

DESCRIBED_SIDE = 128
"""The side in pixels of a scene with a sentence, unless the user says another."""

_CHECKED_HW = (32, 32)
"""The size at which files are decoded to find the broken ones."""

_FEWEST = 3


def open_digit_scenes(image_hw: tuple[int, int], seed: int, most: int = 1) -> DataSet:
    """Open the embedded digits in drawn clutter, up to `most` in a scene."""
    return DataSet(
        DIGIT_LABELS,
        lambda split: SceneSplit(
            split, DigitObjects(split), DrawnBackgrounds(split), image_hw=image_hw, seed=seed, most=most
        ),
        mirrors=False,
        parts="10,000, 1,000 and 1,000 digits of MNIST, the last from its test file, in clutter of their own"
        + _several(most),
    )


def open_digit_rows(image_hw: tuple[int, int], seed: int) -> DataSet:
    """Open rows of one to five of the embedded digits in drawn clutter: numbers, read from left to right."""
    return DataSet(
        DIGIT_LABELS,
        lambda split: SceneSplit(
            split,
            DigitObjects(split),
            DrawnBackgrounds(split),
            image_hw=image_hw,
            seed=seed,
            most=MOST_DIGITS,
            arrange=in_row,
        ),
        mirrors=False,
        parts=f"rows of one to {MOST_DIGITS} of 10,000, 1,000 and 1,000 digits of MNIST, the last of its test file, in "
        "clutter of their own",
    )


def open_described_scenes(image_hw: tuple[int, int], seed: int) -> DataSet:
    """Open one or two of the embedded digits in drawn clutter, and the sentence that describes them."""
    return DataSet(
        WORDS,
        lambda split: DescribedScenes(split, image_hw=image_hw, seed=seed),
        mirrors=False,
        parts="one or two of 10,000, 1,000 and 1,000 digits of MNIST, the last of its test file, in clutter of their "
        "own; half of the pairs of test are combinations that the others never show",
        separator=" ",
    )


def open_sign_scenes(root: Path, image_hw: tuple[int, int], seed: int, most: int = 1) -> DataSet:
    """Open GTSRB's traffic signs, whose files lie below `root`, in drawn clutter, up to `most` in a scene.

    Raises:
        DataError: as for `gtsrb`.
    """
    signs = open_named("gtsrb", root, _CHECKED_HW)
    return _scenes(signs, DrawnBackgrounds, "clutter of their own", image_hw, seed, most, outline=sign_mask)


def open_folder_scenes(
    objects: Path,
    backgrounds: Path,
    image_hw: tuple[int, int],
    seed: int,
    labels: tuple[str, ...] | None,
    most: int = 1,
) -> DataSet:
    """Open the objects of one folder, which is read as by `folder:`, in the photographs of another one.

    A scene has up to `most` objects. The photographs, at any depth, are divided 80/10/10 by a hash of their contents.

    Raises:
        UsageError: no such folder; one lies in the other, or both are the same.
        DataError: as for `folder:`; too few photographs, or too many broken ones; or, when a split is opened, one of
            them is an object too.
    """
    _check_apart(objects, backgrounds)
    photos, shown = _photos(backgrounds)
    opened = open_folder(objects, _CHECKED_HW, seed, labels=labels, mirrors=False)
    photographs = (
        f"{counted(sum(map(len, photos.values())), 'photograph')} of {backgrounds}, divided 80/10/10 by their contents"
    )
    made = _scenes(opened, lambda split: photos[split], photographs, image_hw, seed, most, shown=shown)
    made.found = f"{opened.found}; {photographs}"
    return made


def _scenes(
    objects: DataSet,
    backgrounds: Callable[[SplitName], Backgrounds],
    what: str,
    image_hw: tuple[int, int],
    seed: int,
    most: int,
    *,
    outline: Outline | None = None,
    shown: Mapping[bytes, Path] = MappingProxyType({}),
) -> DataSet:
    def open_split(split: SplitName) -> SceneSplit:
        images = objects.split(split)
        assert isinstance(images, FolderSplit)
        _refuse_shown(images, shown)
        cut: SceneObjects = CutObjects(images, outline)
        return SceneSplit(split, cut, backgrounds(split), image_hw=image_hw, seed=seed, most=most)

    return DataSet(
        objects.labels,
        open_split,
        mirrors=False,
        parts=f"a scene for each object: {objects.parts}; in {what}{_several(most)}",
        by_seed=objects.by_seed,
        test_is_val=objects.test_is_val,
        found=objects.found,
    )


def _several(most: int) -> str:
    return f"; one to {most} objects in a scene" if most > 1 else ""


def _check_apart(objects: Path, backgrounds: Path) -> None:
    for folder, what in ((objects, "objects"), (backgrounds, "backgrounds")):
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no such folder of {what}",
                hint="scenes:OBJECTS,BACKGROUNDS expects two folders; if they were moved, name them again with --data",
            )
    one, other = objects.resolve(), backgrounds.resolve()
    if one == other or one in other.parents or other in one.parents:
        how = "are the same folder" if one == other else "lie one in the other"
        raise UsageError(
            f"objects ({objects}) and backgrounds ({backgrounds}) {how}",
            hint="keep them apart: a background must not show an object",
        )


def _refuse_shown(objects: FolderSplit, shown: Mapping[bytes, Path]) -> None:
    """Refuse objects that are backgrounds too, under whatever name: such a scene would show an object unlabelled."""
    both = [
        (path, shown[each]) for (path, _), each in zip(objects.files, objects.digests, strict=True) if each in shown
    ]
    if both:
        one, other = both[0]
        raise DataError(
            f"{counted(len(both), 'object', 'are')} among the backgrounds too: {one} and {other} are one picture",
            hint="remove them from the backgrounds: a background must not show an object",
        )


def _photos(folder: Path) -> tuple[dict[SplitName, PhotoBackgrounds], dict[bytes, Path]]:
    """Divide the photographs, so that none, under whatever name, is in two splits; return all by their digests too."""
    skipped = Skipped()
    files = list(images_below(folder, skipped))
    checked, _ = check_images(files, _CHECKED_HW, "backgrounds")
    if broken := few_broken(checked, "background", folder):
        warn(broken)
    found = {each.digest: file for file, each in zip(files, checked, strict=True) if not each.broken}
    if len(found) < _FEWEST:
        unread = skipped.describe_unread()
        raise DataError(
            f"{folder}: {counted(len(found), 'different photograph')}, too few for train, val and test"
            + (f"; {unread}" if unread else ""),
            hint=f"scenes need {_FEWEST} backgrounds or more, and look alike with few",
        )
    order, tenth = sorted(found), max(1, round(len(found) / 10))
    parts: dict[SplitName, list[bytes]] = {
        "train": order[2 * tenth :],
        "val": order[:tenth],
        "test": order[tenth : 2 * tenth],
    }
    photos = {
        split: PhotoBackgrounds(tuple(found[each] for each in part), hashlib.sha256(b"".join(part)).hexdigest())
        for split, part in parts.items()
    }
    return photos, found
