"""Costs of a model, part by part, as values. `lstn.nn.costs.counting` does the counting."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import add
from typing import TypeAlias


class CostPart(str, Enum):
    """Where a model spends its time, in the order of the data; the first four are the transformer."""

    CONVOLUTIONS = "localizer convolutions"
    HEAD = "localizer head"
    GRID = "grid"
    SAMPLER = "sampler"
    BACKBONE = "backbone"


@dataclass(frozen=True, slots=True)
class PartCost:
    """What one image costs.

    parameters:       trained numbers
    paper_macs:       multiply-accumulates, counted as the paper does: grid and sampler are free
    macs:             the same, with those of grid and sampler
    activation_bytes: float32 that the layers read and write, as far as no engine fuses them away
    """

    parameters: int = 0
    paper_macs: int = 0
    macs: int = 0
    activation_bytes: int = 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32, which every call reads once, whatever its batch."""
        return 4 * self.parameters

    def __add__(self, other: "PartCost") -> "PartCost":
        return PartCost(
            self.parameters + other.parameters,
            self.paper_macs + other.paper_macs,
            self.macs + other.macs,
            self.activation_bytes + other.activation_bytes,
        )


PartCosts: TypeAlias = Mapping[CostPart, PartCost]
"""Every part of a model; a part that it lacks costs nothing."""


def total(costs: PartCosts) -> PartCost:
    """Add all parts up."""
    return reduce(add, costs.values(), PartCost())


def transformer(costs: PartCosts) -> PartCost:
    """Add localizer, grid and sampler up."""
    return reduce(add, (cost for part, cost in costs.items() if part is not CostPart.BACKBONE), PartCost())
