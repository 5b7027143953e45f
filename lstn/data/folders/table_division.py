"""Tables of images, labels.csv, below one folder: which there are, and which of their rows are in which split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

from lstn.data.folders.division import held_back, listed
from lstn.data.folders.layout import TABLE
from lstn.data.splits import SPLIT_NAMES, AnySplit, SplitName
from lstn.errors import DataError
from lstn.report.wording import counted
from lstn.terminal import warn

_FEWEST = 3


class _OfOneImage(Protocol):
    @property
    def path(self) -> Path: ...


Row = TypeVar("Row", bound=_OfOneImage)

Grouping: TypeAlias = Callable[[Sequence[Row]], Mapping[str, list[Row]]]
"""Rows -> those that are divided together, by a name that the division depends on."""


@dataclass(frozen=True, slots=True)
class TableKind:
    """The words for what tables say: of texts, for example. row: of one image, in the singular; wanted: for errors"""

    of: str
    row: str
    wanted: str


@dataclass(frozen=True, slots=True)
class DividedRows(Generic[Row]):
    """Rows by split. by_seed: the splits that the seed decides; parts: how, in words."""

    splits: dict[SplitName, list[Row]]
    by_seed: frozenset[SplitName]
    parts: str

    @property
    def untested(self) -> bool:
        """Whether there is no test split, so that the validation images are tested."""
        return "test" not in self.splits

    def standing_for(self, split: SplitName, root: Path) -> SplitName:
        """Return the split that is opened as `split`: validation, with a warning, as a test split that is not there."""
        if not (self.untested and split == "test"):
            return split
        warn(f"{root}: no test/: the validation images are tested, and these chose the epoch, which flatters it")
        return "val"


def tables_in(root: Path) -> dict[AnySplit, Path]:
    """Return the table of each split; one table for all of them is under `all`."""
    tables: dict[AnySplit, Path] = {split: root / split / TABLE for split in SPLIT_NAMES} | {"all": root / TABLE}
    return {split: table for split, table in tables.items() if table.is_file()}


def divided_rows(
    root: Path,
    read: Callable[[Path], list[Row]],
    kind: TableKind,
    seed: int,
    *,
    trained: bool,
    grouped: Grouping[Row] = lambda rows: {"": list(rows)},
) -> DividedRows[Row]:
    """Read the tables of a folder, and divide what is to be divided by the seed.

    One table is divided 80/10/10; without val/, a tenth of the training rows is held back. A group that is too small
    for that is for training.

    trained: the model is trained already, so splits may be missing

    Raises:
        DataError: no table, or tables both of the folder and of its splits; too few rows; or what `read` raises.
    """
    tables = tables_in(root)
    if not tables:
        raise DataError(f"{root}: no table of {kind.of}", hint=kind.wanted)
    if "all" in tables and len(tables) > 1:
        raise DataError(f"{root}: {kind.of} in {listed([str(each) for each in tables.values()])}", hint=kind.wanted)
    rows = {split: read(table) for split, table in tables.items()}
    if "all" in rows:
        return _divided_whole(root, rows["all"], kind, seed, trained=trained, grouped=grouped)
    splits = {split: rows[split] for split in SPLIT_NAMES if split in rows}
    if "train" not in splits and not trained:
        raise DataError(f"{root}: no {root / 'train' / TABLE}", hint=kind.wanted)
    told = f"as {listed([f'{split}/{TABLE}' for split in splits])} say"
    if "val" in splits or "train" not in splits or (trained and len(splits["train"]) < 2):
        return DividedRows(splits, frozenset(), told)
    train: list[Row] = []
    val: list[Row] = []
    for name, group in grouped(splits["train"]).items():
        rest, tenth = _held_back(name, group, seed) if len(group) > 1 else (group, [])
        train, val = train + rest, val + tenth
    if not val:
        few = f"a single training {kind.row}" if len(train) == 1 else f"no label that two training {kind.row}s have"
        raise DataError(f"{root}: {few}, too few to hold one back for validation", hint="add val/")
    by_seed: frozenset[SplitName] = frozenset(("train", "val") if "test" in splits else SPLIT_NAMES)
    return DividedRows(
        splits | {"train": train, "val": val}, by_seed, f"{told}; a tenth of train for validation, seed {seed}"
    )


def _divided_whole(
    root: Path, whole: list[Row], kind: TableKind, seed: int, *, trained: bool, grouped: Grouping[Row]
) -> DividedRows[Row]:
    splits: dict[SplitName, list[Row]] = {"train": [], "val": [], "test": []}
    for name, group in grouped(whole).items():
        if len(group) < _FEWEST:
            splits["train"] += group
            continue
        rest, val = _held_back(name, group, seed)
        train, test = _held_back(name, rest, seed)
        for split, rows in zip(SPLIT_NAMES, (train, val, test), strict=True):
            splits[split] += rows
    if splits["test"]:
        return DividedRows(splits, frozenset(SPLIT_NAMES), f"80/10/10, seed {seed}")
    if trained:
        return DividedRows({"test": whole}, frozenset(), "all for test")
    few = counted(len(whole), kind.row) if len(whole) < _FEWEST else f"no label that {_FEWEST} {kind.row}s have"
    raise DataError(f"{root}: {few}, too few for train, val and test", hint="add some")


def _held_back(name: str, rows: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    by_path = {row.path: row for row in rows}
    rest, tenth = held_back(name, sorted(by_path), seed)
    return [by_path[path] for path in rest], [by_path[path] for path in tenth]
