"""Report of `lstn claims` as one value, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from lstn.contract import Loc
from lstn.nn.costs.part_costs import PartCosts, total
from lstn.report.table import Table
from lstn.report.wording import counted
from lstn.research.claims.claims_request import ClaimsRequest
from lstn.research.claims.cost_tables import paper_tables, parts_table
from lstn.research.claims.findings import Line, costs_of, judge, networks_table, peers_table, sums_table
from lstn.research.claims.paper import CountCosts, PaperCell
from lstn.research.claims.time_worth import judge_worth, worth_table
from lstn.research.claims.verdict import DEAD_ZONE
from lstn.research.study.study_results import Study

if TYPE_CHECKING:
    from lstn.machine.environment import Environment
    from lstn.research.claims.races import TimedRace

VERSION = 1

_LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True, slots=True, eq=False)
class ClaimsReport:
    """Counts, timings, and what they say.

    costs:   backbone -> localizer -> what each part costs, of the backbones that were timed
    timings: tables of what was timed
    study:   whose networks were timed; None for untrained ones, and for files
    """

    lines: tuple[Line, ...]
    cells: tuple[PaperCell, ...]
    costs: Mapping[str, Mapping[Loc, PartCosts]]
    timed_races: tuple["TimedRace", ...]
    timings: tuple[Table, ...]
    setup: ClaimsRequest
    environment: "Environment"
    made: str
    study: Study | None = None

    @property
    def where(self) -> str:
        """The machine and what ran on it, as a sentence."""
        environment, setup = self.environment, self.setup
        versions = [f"{name} {environment.libraries[name]}" for name in _LIBRARIES if name in environment.libraries]
        threads = "threads as each library likes" if setup.threads is None else counted(setup.threads, "thread")
        load = "" if environment.load is None else f", load {environment.load} at the start"
        gpus = ", ".join(gpu.name for gpu in environment.gpus) or "no GPU"
        return (
            f"{environment.cpu}, {counted(environment.cores, 'core')}{load}; {gpus}; {threads}; {', '.join(versions)}"
        )

    @property
    def counts(self) -> tuple[Table, ...]:
        """The paper's tables beside ours, and the costs of the parts of what was timed."""
        parts = [parts_table(costs, f"Costs: {backbone}") for backbone, costs in self.costs.items()]
        return (*parts, *paper_tables(self.cells))

    def to_json(self) -> str:
        """Return everything, every raw sample included, as one JSON object."""
        return json.dumps(
            {
                "version": VERSION,
                "made": self.made,
                "dead_zone": DEAD_ZONE,
                "setup": asdict(self.setup) | {"engine": self.setup.engine.value},
                "environment": asdict(self.environment),
                "verdicts": [asdict(line) | {"verdict": line.verdict.value} for line in self.lines],
                "cells": [asdict(cell) | {"loc": cell.loc.value, "agrees": cell.agrees} for cell in self.cells],
                "costs": {name: _costs(by_loc) for name, by_loc in self.costs.items()},
                "heats": [_timed_race(timed) for timed in self.timed_races],
                "worth": None if self.study is None else asdict(worth_table(self.study, self.timed_races)),
            }
        )


def make_report(
    cells: Sequence[PaperCell],
    timed_races: Sequence["TimedRace"],
    count_costs: CountCosts,
    setup: ClaimsRequest,
    environment: "Environment",
    study: Study | None = None,
) -> ClaimsReport:
    """Judge and lay out what was counted and timed, and what a study measured of the same networks."""
    timings = [networks_table(timed_races), sums_table(timed_races), peers_table(timed_races)]
    lines = judge(cells, timed_races, count_costs)
    if study is not None:
        timings = [worth_table(study, timed_races)]
        lines = judge_worth(study, timed_races) + lines
    return ClaimsReport(
        lines=tuple(lines),
        cells=tuple(cells),
        costs=costs_of(timed_races, count_costs),
        timed_races=tuple(timed_races),
        timings=tuple(timings),
        setup=setup,
        environment=environment,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        study=study,
    )


def _costs(by_loc: Mapping[Loc, PartCosts]) -> dict[str, object]:
    return {
        loc.value: {
            **{part.value: asdict(cost) for part, cost in costs.items()},
            "total": asdict(total(costs)) | {"weight_bytes": total(costs).weight_bytes},
        }
        for loc, costs in by_loc.items()
    }


def _timed_race(timed: "TimedRace") -> dict[str, object]:
    entrants = []
    for column, (subject, via) in enumerate(timed.race.names):
        samples = [sitting[:, column].round(5).tolist() for sitting in timed.race.sittings]
        time = asdict(timed.race.time_ms((subject, via)))
        entrants.append({"subject": subject, "via": via, "median_ms": time, "sittings_ms": samples})
    fields = {"backbone": timed.backbone, "image_hw": timed.image_hw, "batch": timed.batch, "engine": timed.engine}
    return fields | {"entrants": entrants}
