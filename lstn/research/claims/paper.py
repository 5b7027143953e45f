"""The L-STN paper's tables, and where they contradict themselves.

Hsu, Lee, Hsu: An Improved Spatial Transformer Network based on Lightweight Localization Net (L-STN), Tables 1-6.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

from lstn.contract import PAPER_LOCS, Loc
from lstn.nn.costs.part_costs import PartCosts, total, transformer

GFLOPS_TOLERANCE = 0.0002
"""Largest difference of a GFLOPS cell from ours, rounded to the decimals that its table prints."""

_DECIMALS = {"Table 4": 3, "Table 5": 4, "Table 6": 4}

INCONSISTENCIES = (
    "Table 3 prints 16 BatchNorm parameters in rows 4 and 7. 8 is meant (4 channels): only then do its rows add up to "
    "the 3,690 it prints.",
    "Table 3, row 12, is printed without BatchNorm and with BatchNorm's parameters.",
    "The text counts the localizer's head as (H x W x C) x 32 + 192. Table 6 has the 32 + 6 biases as well.",
    "The GFLOPS are multiply-accumulates, and leave the grid and the sampler out.",
    "The EfficientNets of Tables 4-6 are not the published ones: their parameters are those of a network whose "
    "expansion convolution is 3x3 and not 1x1 (B0: 14.0 million at 10 classes, published: 4.0 million).",
    "The accuracies are headed Top-5 and can only be top-1: 10 classes are guessed right in 5 tries half of the time.",
    "Table 4 gives V-STN the same two accuracies, 73.25 and 72.08 %, on B4 and on B5.",
)
"""What a reader of the tables should know; none of it changes a cell that is compared here."""

_LOCALIZER_TABLES = {Loc.STN: "table1_stn", Loc.VSTN: "table2_vstn", Loc.LSTN: "table3_lstn"}
_WHOLE_TABLES = {"Table 4": "table4_caltech101", "Table 5": "table5_cifar10"}

CountCosts: TypeAlias = Callable[[Loc, str, tuple[int, int], int], PartCosts]
"""(localizer, backbone, image_hw, classes) -> costs: `lstn.nn.costs.counting.count_costs`."""

CountRows: TypeAlias = Callable[[Loc], Sequence[int]]
"""Localizer -> the parameters of each row of its table: `lstn.nn.costs.counting.count_rows`."""


@dataclass(frozen=True, slots=True)
class PaperCell:
    """One number of the paper, and ours.

    row:  a backbone in the paper's words; in Tables 1-3 `row 1`, …, and `total`
    unit: `parameters` or `GFLOPS`
    """

    table: str
    row: str
    loc: Loc
    unit: str
    paper: float
    ours: float

    @property
    def difference(self) -> float:
        """Ours less the paper's."""
        return self.ours - self.paper

    @property
    def agrees(self) -> bool:
        """Whether parameters are the same to the unit, and GFLOPS within their tolerance."""
        if self.unit == "parameters":
            return self.ours == self.paper
        decimals = _DECIMALS[self.table]
        return abs(round(round(self.ours, decimals) - self.paper, decimals)) <= GFLOPS_TOLERANCE


@cache
def read_tables() -> dict[str, Any]:
    """Return the paper's tables as `paper.json` has them."""
    tables: dict[str, Any] = json.loads((files("lstn.research.claims") / "paper.json").read_text(encoding="utf-8"))
    return tables


def our_backbone(name: str) -> str:
    """Return our name of a backbone of the paper, whose EfficientNets are its own."""
    return f"paper-{name}" if name.startswith("effnet") else name


def compare_counts(count_costs: CountCosts, count_rows: CountRows) -> Iterator[PaperCell]:
    """Yield every cell of Tables 1-6 that can be counted, beside what is counted here."""
    tables = read_tables()
    for number, (loc, key) in enumerate(_LOCALIZER_TABLES.items(), 1):
        printed = [layer["params"] for layer in tables[key]["layers"]]
        for position, (paper, ours) in enumerate(zip(printed, count_rows(loc), strict=True), 1):
            yield PaperCell(f"Table {number}", f"row {position}", loc, "parameters", paper, ours)
        yield PaperCell(f"Table {number}", "total", loc, "parameters", tables[key]["total"], sum(count_rows(loc)))
    for title, key in _WHOLE_TABLES.items():
        for loc in PAPER_LOCS:
            for backbone, row in tables[key][loc.value].items():
                cost = total(_count(count_costs, loc, backbone, tables[key]["classes"]))
                yield PaperCell(title, backbone, loc, "parameters", row[0], cost.parameters)
                yield PaperCell(title, backbone, loc, "GFLOPS", row[1], cost.paper_macs / 1e9)
    columns = tables["table6_transformer"]["columns"]
    for backbone in tables["input_size"]:
        printed_of = dict(zip(columns, tables["table6_transformer"][backbone], strict=True))
        for loc in _LOCALIZER_TABLES:
            cost = transformer(_count(count_costs, loc, backbone, 10))
            yield PaperCell("Table 6", backbone, loc, "parameters", printed_of[f"{loc.value} params"], cost.parameters)
            yield PaperCell(
                "Table 6", backbone, loc, "GFLOPS", printed_of[f"{loc.value} gflops"], cost.paper_macs / 1e9
            )


def _count(count_costs: CountCosts, loc: Loc, backbone: str, classes: int) -> PartCosts:
    side = read_tables()["input_size"][backbone]
    return count_costs(loc, our_backbone(backbone), (side, side), classes)
