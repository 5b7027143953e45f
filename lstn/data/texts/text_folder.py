"""Folders of images with a table of texts: the splits of `folder:PATH` for reading."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lstn.contract import MAX_LABELS
from lstn.data.annotations.annotated_folder import AnnotatedSplit
from lstn.data.folders.class_folders import KINDS_OF_IMAGES, decodable
from lstn.data.folders.division import held_back, listed
from lstn.data.splits import SPLIT_NAMES, AnySplit, DataSet, SplitName
from lstn.data.texts.text_table import KnownText, read_texts
from lstn.errors import DataError, UsageError
from lstn.images import shown_hw
from lstn.report.wording import counted
from lstn.terminal import warn

TEXTS = "labels.csv"

_WANTED = f"expected PATH/{TEXTS}, or PATH/train/{TEXTS} and perhaps val/{TEXTS} and test/{TEXTS}: path,text[,boxes]"

_FEWEST = 3


@dataclass(frozen=True, slots=True)
class _DividedTexts:
    """Texts by split. by_seed: the splits that the seed decides; parts: how, in words."""

    splits: dict[SplitName, list[KnownText]]
    by_seed: frozenset[SplitName]
    parts: str


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
    divided = _divide(root, _read(root), seed, trained=trained)
    alphabet = labels or tuple(sorted({symbol for text in divided.splits["train"] for symbol in text.text}))
    _check_symbols(divided, alphabet, trained=trained)
    numbers = {symbol: number for number, symbol in enumerate(alphabet)}
    untested = "test" not in divided.splits

    def open_split(split: SplitName) -> AnnotatedSplit:
        if untested and split == "test":
            warn(f"{root}: no test/: the validation images are tested, and these chose the epoch, which flatters it")
            split = "val"
        return _opened(root, divided.splits.get(split, []), split, numbers, image_hw)

    every = [text for texts in divided.splits.values() for text in texts]
    return DataSet(
        alphabet,
        open_split,
        mirrors=False,
        parts=divided.parts,
        by_seed=divided.by_seed,
        test_is_val=untested,
        open_all=lambda: _opened(root, every, "all", numbers, image_hw),
        found=_described(root, divided, alphabet),
    )


def _read(root: Path) -> dict[AnySplit, list[KnownText]]:
    """Return the texts of each split's table; of one table for all of them, under `all`."""
    tables: dict[AnySplit, Path] = {split: root / split / TEXTS for split in SPLIT_NAMES} | {"all": root / TEXTS}
    there = {split: table for split, table in tables.items() if table.is_file()}
    if not there:
        raise DataError(f"{root}: no table of texts", hint=_WANTED)
    if "all" in there and len(there) > 1:
        raise DataError(f"{root}: texts in {listed([str(each) for each in there.values()])}", hint=_WANTED)
    return {split: read_texts(table) for split, table in there.items()}


def _divide(root: Path, read: dict[AnySplit, list[KnownText]], seed: int, *, trained: bool) -> _DividedTexts:
    whole = read.get("all", [])
    splits = {split: read[split] for split in SPLIT_NAMES if split in read}
    if len(whole) < _FEWEST and whole:
        if not trained:
            raise DataError(f"{root}: {counted(len(whole), 'text')}, too few for train, val and test", hint="add some")
        return _DividedTexts({"test": whole}, frozenset(), "all for test")
    if whole:
        rest, val = _held_back(whole, seed)
        train, test = _held_back(rest, seed)
        parts = f"80/10/10, seed {seed}"
        return _DividedTexts({"train": train, "val": val, "test": test}, frozenset(SPLIT_NAMES), parts)
    if "train" not in splits and not trained:
        raise DataError(f"{root}: no {root / 'train' / TEXTS}", hint=_WANTED)
    told = f"as {listed([f'{split}/{TEXTS}' for split in splits])} say"
    if "val" in splits or "train" not in splits or (trained and len(splits["train"]) < 2):
        return _DividedTexts(splits, frozenset(), told)
    if len(splits["train"]) < 2:
        raise DataError(f"{root}: a single training text, too few to hold one back for validation", hint="add val/")
    train, val = _held_back(splits["train"], seed)
    by_seed: frozenset[SplitName] = frozenset(("train", "val") if "test" in splits else SPLIT_NAMES)
    return _DividedTexts(
        splits | {"train": train, "val": val}, by_seed, f"{told}; a tenth of train for validation, seed {seed}"
    )


def _held_back(texts: list[KnownText], seed: int) -> tuple[list[KnownText], list[KnownText]]:
    by_path = {text.path: text for text in texts}
    rest, tenth = held_back("", sorted(by_path), seed)
    return [by_path[path] for path in rest], [by_path[path] for path in tenth]


def _check_symbols(divided: _DividedTexts, alphabet: tuple[str, ...], *, trained: bool) -> None:
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


def _described(root: Path, divided: _DividedTexts, alphabet: tuple[str, ...]) -> str:
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
