"""Folders of images with a table of texts: the splits of `folder:PATH` for reading."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lstn.contract import MAX_LABELS
from lstn.data.annotations.annotated_folder import AnnotatedSplit
from lstn.data.folders.class_folders import KINDS_OF_IMAGES, decodable
from lstn.data.folders.division import listed
from lstn.data.folders.layout import TABLE
from lstn.data.folders.table_division import DividedRows, TableKind, divided_rows
from lstn.data.splits import SPLIT_NAMES, AnySplit, DataSet, SplitName
from lstn.data.texts.text_table import KnownText, read_texts
from lstn.errors import DataError, UsageError
from lstn.images import shown_hw
from lstn.report.wording import counted
from lstn.terminal import warn

_KIND = TableKind(
    "texts",
    "text",
    f"expected PATH/{TABLE}, or PATH/train/{TABLE} and perhaps val/{TABLE} and test/{TABLE}: path,text[,boxes]",
)


def open_text_folder(
    root: Path, image_hw: tuple[int, int], seed: int, *, labels: tuple[str, ...] | None = None
) -> DataSet:
    """Open PATH/labels.csv, which is divided 80/10/10 by `seed`, or one in each of PATH/{train,val,test}.

    Without val/, a tenth of the training images is held back by `seed`. Without test/, the validation images are
    tested, with a warning. The alphabet is what training texts show, sorted.

    labels: the alphabet of a model that was trained: the folder may show less, and have only some splits; None: to
            train on

    Raises:
        UsageError: no such folder.
        DataError: no table, or as for `lstn.data.texts.text_table.read_texts`; no training texts, or too few; a symbol
            that training texts, or the model, don't have. When a split is opened: a box outside of its picture, or too
            many broken images.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder", hint="if it was moved: --data folder:NEW_PATH")
    trained = labels is not None
    divided = divided_rows(root, read_texts, _KIND, seed, trained=trained)
    alphabet = labels or tuple(sorted({symbol for text in divided.splits["train"] for symbol in text.text}))
    _check_symbols(divided, alphabet, trained=trained)
    numbers = {symbol: number for number, symbol in enumerate(alphabet)}

    def open_split(split: SplitName) -> AnnotatedSplit:
        split = divided.standing_for(split, root)
        return _opened(root, divided.splits.get(split, []), split, numbers, image_hw)

    every = [text for texts in divided.splits.values() for text in texts]
    return DataSet(
        alphabet,
        open_split,
        mirrors=False,
        parts=divided.parts,
        by_seed=divided.by_seed,
        test_is_val=divided.untested,
        open_all=lambda: _opened(root, every, "all", numbers, image_hw),
        found=_described(root, divided, alphabet),
    )


def _check_symbols(divided: DividedRows[KnownText], alphabet: tuple[str, ...], *, trained: bool) -> None:
    if len(alphabet) > MAX_LABELS:
        raise DataError(f"{counted(len(alphabet), 'symbol')}; a model has {MAX_LABELS} at most")
    known = set(alphabet)
    for text in (text for texts in divided.splits.values() for text in texts):
        if strange := set(text.text) - known:
            whose = "of the model's" if trained else "of the training texts'"
            raise DataError(
                f"{text.place}: {min(strange)!r} of {text.text!r:.40} is none {whose} {counted(len(known), 'symbol')}",
                hint="remove the row" if trained else "add texts with it to train, or remove the row",
            )


def _opened(
    root: Path, texts: list[KnownText], split: AnySplit, numbers: dict[str, int], image_hw: tuple[int, int]
) -> AnnotatedSplit:
    """Check every image and every box of a split."""
    if not texts:
        raise DataError(f"{root}: no {split} images", hint="name another split, or add some")
    by_path = {text.path: text for text in texts}
    decoded, broken = decodable([(text.path, numbers[text.text[0]]) for text in texts], split, image_hw)
    if broken:
        warn(broken)
    with ThreadPoolExecutor() as pool:
        known = tuple(pool.map(lambda each: by_path[each[0]].objects(numbers, shown_hw(each[0])), decoded.files))
    return AnnotatedSplit.of(decoded, known)


def _described(root: Path, divided: DividedRows[KnownText], alphabet: tuple[str, ...]) -> str:
    """Return what was found, in one line."""
    counts = [
        counted(len(divided.splits[split]), f"{KINDS_OF_IMAGES[split]} text")
        for split in SPLIT_NAMES
        if divided.splits.get(split)
    ]
    texts = [text for each in divided.splits.values() for text in each]
    longest = max(len(text.text) for text in texts)
    boxed = sum(bool(text.boxes) for text in texts)
    return (
        f"{root}: {listed(counts)} of up to {counted(longest, 'symbol')}, {counted(len(alphabet), 'different one')}; "
        f"boxes for {boxed} of {len(texts)}"
    )
