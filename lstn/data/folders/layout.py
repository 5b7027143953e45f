"""Layout of a folder of class folders: its splits, its classes, and structures that are refused."""

import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from lstn.contract import MAX_LABELS, MAX_NAME
from lstn.data.folders.listing import Skipped, images_below, scan
from lstn.data.splits import SplitName
from lstn.errors import DataError
from lstn.report.wording import counted

Classes: TypeAlias = dict[str, list[Path]]
"""Class name, in Unicode's form NFC, -> its image files; both sorted."""

SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What a split's folder may be called, in any case."""

_LIKE_A_SPLIT = re.compile(
    r"(.*[^a-z])?(train|trn|val|vld|valid|validation|dev|test|tst|eval|holdout)(ing)?([^a-z].*)?"
)

TABLE = "labels.csv"
"""The name of a table of images, in a folder or in those of its splits, which stands in place of class folders."""

_WANTED = "lstn reads PATH/<class>/*, or PATH/{train,val,test}/<class>/*"


@dataclass
class Layout:
    """A folder's classes: by split, or all in one.

    splits:   what is in train/, val/ and test/, as far as they are there; empty for a folder that is not divided
    whole:    the classes of a folder that is not divided; else empty
    skipped:  what was left out
    warnings: what the user should look at, one line each
    """

    root: Path
    splits: dict[SplitName, Classes] = field(default_factory=dict)
    whole: Classes = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)
    warnings: list[str] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the training images, or of all, sorted."""
        if self.whole or "train" in self.splits:
            return tuple(self.splits.get("train", self.whole))
        return tuple(sorted({label for classes in self.splits.values() for label in classes}))


def read_layout(root: Path) -> Layout:
    """List `root` and say how it is divided. No image is opened.

    Raises:
        DataError: no classes, an empty class, a class that can't be named; or the folder is one level too high, or is
            divided in a way that leaves open which images are for training.
    """
    layout = Layout(root)
    divided = _divided(root, layout)
    for split, folder in divided.items():
        layout.splits[split] = _classes(folder, layout)
    if not divided:
        layout.whole = _classes(root, layout)
    return layout


def lists_test(root: Path) -> bool:
    """Say whether a folder has images that neither train nor choose anything: it has test/, or is divided by lstn."""
    folders, _ = scan(root, Skipped())
    kinds = {SPLIT_WORDS.get(folder.name.lower()) for folder in folders}
    return "train" not in kinds or "test" in kinds


def _divided(root: Path, layout: Layout) -> dict[SplitName, Path]:
    """Return the folders of splits. Folders of such names can be classes too, which then hold images and no folders."""
    folders, loose = scan(root, Skipped())
    named = [(SPLIT_WORDS[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLIT_WORDS]
    others = [folder for folder in folders if folder.name.lower() not in SPLIT_WORDS]
    if not named or (others and not any(map(_holds_folders, (folder for _, folder in named)))):
        if len(folders) > 1 and all(
            _LIKE_A_SPLIT.fullmatch(each.name.lower()) and _holds_folders(each) for each in folders
        ):
            raise DataError(f"{root}: {_names(folders)} look like splits", hint="name them train, val and test")
        return {}
    found: dict[SplitName, Path] = {}
    for split, folder in named:
        if split in found:
            raise DataError(
                f"{root}: {found[split].name}/ and {folder.name}/ both are {split}", hint="keep one of them"
            )
        if not _holds_folders(folder):
            raise DataError(f"{folder}: no class folders in this split", hint=_instead(folder) or _WANTED)
        found[split] = folder
    if others:
        if "train" not in found or len(found) < 2:
            raise DataError(
                f"{root}: {_names(list(found.values()))} looks like a split, and {_names(others)} does not",
                hint=_WANTED,
            )
        layout.warnings.append(f"{root}: {_names(others)} is not a split, and is not used")
    _warn_of_loose(root, loose, layout)
    return found


def _instead(folder: Path) -> str:
    """Return what a folder with a table may be meant for, or nothing."""
    return f"its {TABLE} is for --task tag, or --task read" if (folder / TABLE).is_file() else ""


def _classes(root: Path, layout: Layout) -> Classes:
    """List the class folders in `root`.

    Raises:
        DataError: as `read_layout` says.
    """
    folders, loose = scan(root, layout.skipped)
    _warn_of_loose(root, loose, layout)
    if not folders:
        usual = "put the images of each class into a folder of its own"
        raise DataError(f"{root}: no class folders", hint=_instead(root) or usual)
    if len(folders) > MAX_LABELS:
        raise DataError(f"{root}: {counted(len(folders), 'class folder')}; a model has {MAX_LABELS} classes at most")
    classes, folder_of = Classes(), dict[str, Path]()
    for folder in folders:
        label = class_name(folder)
        if (twin := folder_of.get(label)) is not None:
            raise DataError(
                f"{root}: two folders have one name in two Unicode forms: {twin.name!a} and {folder.name!a}",
                hint="put their images into one folder",
            )
        folder_of[label] = folder
        classes[label] = list(images_below(folder, layout.skipped, above=(layout.root,)))
    below = {label: _levels(folder_of[label], files) for label, files in classes.items()}
    _refuse_parent(root, folder_of, below)
    for label, files in classes.items():
        if not files:
            unread = layout.skipped.describe_unread()
            boxes = "; labels/ next to images/ is a set for lstn train --task detect" if label == "labels" else ""
            raise DataError(
                f"{folder_of[label]}: no image in this class folder" + (f"; {unread}" if unread else ""),
                hint=f"fill it, or remove it{boxes}",
            )
    merged = {label: folders for label, (folders, _) in below.items() if folders}
    if merged:
        label, inner = next(iter(merged.items()))
        more = f", and so in {len(merged) - 1} more" if len(merged) > 1 else ""
        layout.warnings.append(
            f"{folder_of[label]}: images in {counted(len(inner), 'folder')} below it ({inner[0]}, …) count as one class"
            f"{more}"
        )
    return dict(sorted(classes.items()))


def class_name(folder: Path) -> str:
    """Return the class that a folder stands for: its name in Unicode's form NFC, which systems write differently.

    Raises:
        DataError: it isn't text, or is longer than a model can keep.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{folder}: the name of this class folder is not text in UTF-8", hint="rename the folder"
        ) from error
    name = unicodedata.normalize("NFC", folder.name)
    if len(name) > MAX_NAME:
        raise DataError(
            f"{folder.parent}: the class {name[:40]}… has a name of {len(name)} characters, more than {MAX_NAME}",
            hint="rename the folder",
        )
    return name


def _levels(folder: Path, files: list[Path]) -> tuple[list[str], bool]:
    """Return the folders directly below a class folder that hold images, and whether it holds some itself."""
    start = len(os.fspath(folder)) + 1
    heads = {os.fspath(file)[start:].partition(os.sep)[::2] for file in files}
    return sorted({head for head, rest in heads if rest}), any(not rest for _, rest in heads)


def _refuse_parent(root: Path, folder_of: dict[str, Path], below: dict[str, tuple[list[str], bool]]) -> None:
    """One level too high, every class would be one of its parts, or all would be one.

    Raises:
        DataError: a class folder holds splits, or is the only one and holds nothing but folders.
    """
    for label, (inner, direct) in below.items():
        if inner and not direct and all(name.lower() in SPLIT_WORDS for name in inner):
            raise DataError(
                f"{folder_of[label]}: holds {', '.join(inner)}, which are splits and not a class",
                hint=f"name the folder that holds the splits: folder:{folder_of[label]}",
            )
    (label, (inner, direct)), *more = below.items()
    if not more and inner and not direct:
        raise DataError(
            f"{root}: holds one folder, {folder_of[label].name}/, and the class folders are in that",
            hint=f"name that one: folder:{folder_of[label]}",
        )


def _warn_of_loose(root: Path, loose: int, layout: Layout) -> None:
    if loose:
        layout.warnings.append(f"{root}: {counted(loose, 'image', 'are')} not used, in no class folder")


def _holds_folders(folder: Path) -> bool:
    return bool(scan(folder, Skipped())[0])


def _names(folders: list[Path]) -> str:
    names = [f"{folder.name}/" for folder in folders[:4]]
    return ", ".join(names) + (f" and {len(folders) - 4} more" if len(folders) > 4 else "")
