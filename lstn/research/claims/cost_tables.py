"""The tables of costs: the paper's numbers beside ours, other backbones, and the parts."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from lstn.contract import PAPER_LOCS, Loc
from lstn.nn.costs.part_costs import CostPart, PartCosts, total, transformer
from lstn.report.table import Table
from lstn.research.claims.paper import CountCosts, PaperCell

OTHERS_CLASSES = 1000
"""Classes that the backbones without a row in the paper are counted with: ImageNet's."""


def paper_tables(cells: Sequence[PaperCell]) -> list[Table]:
    """Lay the paper's cells out beside ours, a table for each of its own."""
    return [_paper_table(title, list(group)) for title, group in groupby(cells, lambda cell: cell.table)]


def agreement(cells: Sequence[PaperCell]) -> str:
    """Say how many cells agree, as a sentence."""
    parts = []
    for unit, words in (("parameters", "parameter cells to the unit"), ("GFLOPS", "GFLOPS cells within 0.0002")):
        found = [cell.agrees for cell in cells if cell.unit == unit]
        parts.append(f"{sum(found)} of {len(found)} {words}")
    return " and ".join(parts)


def others_table(count_costs: CountCosts, sides: Mapping[str, int]) -> Table:
    """Count the backbones that the paper doesn't have. sides: backbone -> the side of its images in pixels."""
    rows = []
    for backbone, side in sides.items():
        for loc in PAPER_LOCS:
            cost = total(count_costs(loc, backbone, (side, side), OTHERS_CLASSES))
            moved = (cost.weight_bytes + cost.activation_bytes) / 1e6
            numbers = (f"{cost.parameters:,}", f"{cost.paper_macs / 1e9:.4f}", f"{cost.macs / 1e9:.4f}", f"{moved:.1f}")
            rows.append((backbone if loc is Loc.NONE else "", loc.value, str(side), *numbers))
    return Table(
        f"Other backbones, at {OTHERS_CLASSES} classes",
        ("backbone", "localizer", "pixels", "parameters", "GFLOPS", "+ grid, sampler", "MB moved"),
        tuple(rows),
        words=2,
        note="GFLOPS are multiply-accumulates / 1e9 by the paper's convention, then with grid and sampler. "
        "MB moved: float32 weights, and what each layer of one image reads and writes.",
    )


def parts_table(costs: Mapping[Loc, PartCosts], title: str) -> Table:
    """Lay out what every part costs behind each localizer."""
    rows = []
    for loc, parts in costs.items():
        for name, cost in (
            *((part.value, parts[part]) for part in CostPart if loc is not Loc.NONE or part is CostPart.BACKBONE),
            *([("transformer", transformer(parts))] if loc is not Loc.NONE else []),
        ):
            moved = (f"{cost.weight_bytes / 1e6:.2f}", f"{cost.activation_bytes / 1e6:.2f}")
            macs = (f"{cost.paper_macs / 1e6:.2f}", f"{cost.macs / 1e6:.2f}")
            rows.append((loc.value, name, f"{cost.parameters:,}", *macs, *moved))
    return Table(
        title,
        ("localizer", "part", "parameters", "M MAC", "+ grid, sampler", "MB weights", "MB activations"),
        tuple(rows),
        words=2,
        note="For one image. M MAC: millions of multiply-accumulates by the paper's convention, which leaves grid and "
        "sampler out; then with them.",
    )


def _paper_table(title: str, cells: Sequence[PaperCell]) -> Table:
    if cells[0].unit == cells[-1].unit:
        rows = tuple((cell.row, *_beside(cell)) for cell in cells)
        return Table(f"{title}: {cells[0].loc.value}", ("", "parameters, paper", "ours", "difference"), rows)
    return Table(
        title,
        ("backbone", "localizer", "parameters, paper", "ours", "difference", "GFLOPS, paper", "ours", "difference"),
        tuple(_wide_rows(cells)),
        words=2,
    )


def _wide_rows(cells: Sequence[PaperCell]) -> Iterable[tuple[str, ...]]:
    for parameters, gflops in zip(cells[::2], cells[1::2], strict=True):
        yield parameters.row, parameters.loc.value, *_beside(parameters), *_beside(gflops)


def _beside(cell: PaperCell) -> tuple[str, str, str]:
    """The paper's number, ours, and the difference; an asterisk marks a cell that doesn't agree."""
    mark = "" if cell.agrees else " *"
    if cell.unit == "parameters":
        return f"{cell.paper:,.0f}", f"{cell.ours:,.0f}", f"{cell.difference:+,.0f}{mark}".replace("+0", "0")
    decimals = 3 if cell.table == "Table 4" else 4
    return f"{cell.paper:.{decimals}f}", f"{cell.ours:.6f}", f"{cell.difference:+.6f}{mark}"
