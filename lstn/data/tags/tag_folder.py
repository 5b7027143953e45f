"""Folders of images with a table of labels: the splits of `folder:PATH` for tagging."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lstn.contract import MAX_LABELS
from lstn.data.annotations.annotated_folder import AnnotatedSplit
from lstn.data.folders.class_folders import KINDS_OF_IMAGES, decodable
from lstn.data.folders.division import listed
from lstn.data.folders.layout import TABLE
from lstn.data.folders.table_division import DividedRows, TableKind, divided_rows
from lstn.data.splits import SPLIT_NAMES, AnySplit, DataSet, SplitName
from lstn.data.tags.tag_table import TaggedFile, read_tags
from lstn.errors import DataError
from lstn.imaging.framing import Framing
from lstn.report.wording import counted
from lstn.terminal import warn

_KIND = TableKind(
    "labels",
    "image",
    f"expected PATH/{TABLE}, or PATH/train/{TABLE} and perhaps val/{TABLE} and test/{TABLE}: path,labels",
)


def open_tag_folder(
    root: Path, image_hw: tuple[int, int], seed: int, *, labels: tuple[str, ...] | None, framing: Framing
) -> DataSet:
    """Open PATH/labels.csv, which is divided 80/10/10 by `seed`, or one in each of PATH/{train,val,test}.

    Without val/, a tenth of the training images is held back by `seed`. Each image is divided with those that have the
    same rarest label, so that rare labels are in all splits. Without test/, the validation images are tested, with a
    warning. The labels are those of training images, sorted.

    labels: those of a model that was trained: the folder may have fewer, and only some splits; None: to train on

    Raises:
        DataError: no table, or as for `lstn.data.tags.tag_table.read_tags`; no training images, or too few; no training
            image has a label; a label that training images, or the model, don't have. When a split is opened: too many
            broken images.
    """
    trained = labels is not None
    divided = divided_rows(root, read_tags, _KIND, seed, trained=trained, grouped=by_rarest_label)
    classes = labels or _labels_of(divided.splits["train"])
    if not classes:
        raise DataError(f"{root}: no training image has a label", hint=_KIND.wanted)
    _check_labels(divided, classes, trained=trained)
    numbers = {label: number for number, label in enumerate(classes)}

    def open_split(split: SplitName) -> AnnotatedSplit:
        split = divided.standing_for(split, root)
        return _opened(root, divided.splits.get(split, []), split, numbers, image_hw, framing)

    every = [each for files in divided.splits.values() for each in files]
    return DataSet(
        classes,
        open_split,
        parts=divided.parts,
        by_seed=divided.by_seed,
        test_is_val=divided.untested,
        open_all=lambda: _opened(root, every, "all", numbers, image_hw, framing),
        found=_described(root, divided, classes),
    )


def by_rarest_label(files: Sequence[TaggedFile]) -> dict[str, list[TaggedFile]]:
    """Return the files of each label that have no rarer one; under an empty name those that have none."""
    shown = Counter(label for each in files for label in each.labels)
    groups: dict[str, list[TaggedFile]] = {}
    for each in files:
        rarest = min(each.labels, key=lambda label: (shown[label], label), default="")
        groups.setdefault(rarest, []).append(each)
    return groups


def _labels_of(files: Sequence[TaggedFile]) -> tuple[str, ...]:
    return tuple(sorted(frozenset().union(*(each.labels for each in files))))


def _check_labels(divided: DividedRows[TaggedFile], classes: tuple[str, ...], *, trained: bool) -> None:
    if len(classes) > MAX_LABELS:
        raise DataError(f"{counted(len(classes), 'label')}; a model has {MAX_LABELS} at most")
    known = set(classes)
    for each in (each for files in divided.splits.values() for each in files):
        if strange := each.labels - known:
            whose = "of the model's" if trained else "of the training images'"
            raise DataError(
                f"{each.place}: {min(strange)!r:.60} is none {whose} {counted(len(known), 'label')}",
                hint="remove it from the row" if trained else "add images with it to train, or remove it from the row",
            )


def _opened(
    root: Path,
    files: list[TaggedFile],
    split: AnySplit,
    numbers: dict[str, int],
    image_hw: tuple[int, int],
    framing: Framing,
) -> AnnotatedSplit:
    """Check every image of a split."""
    if not files:
        raise DataError(f"{root}: no {split} images", hint="name another split, or add some")
    known = {each.path: each.objects(numbers) for each in files}
    firsts = [(path, int(objects.labels[0]) if len(objects) else 0) for path, objects in known.items()]
    decoded, broken = decodable(firsts, split, image_hw, framing)
    if broken:
        warn(broken)
    return AnnotatedSplit.of(decoded, tuple(known[path] for path, _ in decoded.files))


def _described(root: Path, divided: DividedRows[TaggedFile], classes: tuple[str, ...]) -> str:
    """Return what was found, in one line."""
    counts = [
        counted(len(divided.splits[split]), f"{KINDS_OF_IMAGES[split]} image")
        for split in SPLIT_NAMES
        if divided.splits.get(split)
    ]
    files = [each for split in divided.splits.values() for each in split]
    shown = Counter(label for each in files for label in each.labels)
    line = (
        f"{root}: {counted(len(classes), 'label')}; {listed(counts)} with {shown.total() / len(files):.2g} labels each"
    )
    if len(shown) > 1:
        rarest = min(shown, key=lambda label: (shown[label], label))
        line += f"; the rarest label, {rarest!r:.60}, has {shown[rarest]}"
    if empty := sum(not each.labels for each in files):
        line += f"; {counted(empty, 'image')} without a label"
    return line
