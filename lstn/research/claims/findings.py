"""Findings about the paper's claims from counts and timings: a line for each, and the tables behind them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lstn.contract import PAPER_LOCS, Loc
from lstn.errors import UsageError
from lstn.interval import Interval
from lstn.nn.costs.part_costs import PartCosts, total, transformer
from lstn.report.table import Table
from lstn.research.claims.claims_request import LABELS, OPENVINO, OPENVINO_DEFAULT, ORT, ORT_DEFAULT
from lstn.research.claims.paper import CountCosts, PaperCell, read_tables
from lstn.research.claims.verdict import Verdict, judge_below, judge_exact, judge_no_more

if TYPE_CHECKING:
    from lstn.research.claims.races import TimedRace

NAMES = {
    Loc.NONE: "no localizer",
    Loc.STN: "STN",
    Loc.VSTN: "V-STN",
    Loc.LSTN: "L-STN",
    Loc.GLANCE: "glance",
    Loc.SHARED: "shared",
}
"""Localizers that are timed: the paper's as it spells them, and then lstn's own.

Total over `Loc`, but IDENTITY and DEAD.
"""

_PRINTED = "Parameters are as printed"
_FLOPS = "L-STN needs a third of STN's FLOPs"
_TIME = "L-STN needs a third of STN's time"
_CHEAPER = {loc: f"L-STN is cheaper than {NAMES[loc]} in milliseconds" for loc in (Loc.STN, Loc.VSTN)}
_SHARE = "L-STN's share of the network's time is no more than its share of the FLOPs"

CLAIMS = (_PRINTED, _FLOPS, _TIME, *_CHEAPER.values(), _SHARE)
"""In the order of a report. The paper makes the first two; the rest is what a reader takes them to mean."""

_THIRD = 1 / 3
_SAME_LIBRARY = {ORT_DEFAULT: ORT, OPENVINO_DEFAULT: OPENVINO}


@dataclass(frozen=True, slots=True)
class Line:
    """One claim at one place.

    where:    backbone, batch and engine; empty for what is counted
    figure:   what the verdict rests on, as a sentence
    interval: the ratio that was judged; None for what is counted
    """

    claim: str
    where: str
    verdict: Verdict
    figure: str
    interval: Interval | None = None


def judge(cells: Sequence[PaperCell], timed_races: Sequence["TimedRace"], count_costs: CountCosts) -> list[Line]:
    """Judge every claim wherever it was counted or timed."""
    lines = [_parameters(cells), _flops(count_costs)]
    for timed in timed_races:
        if timed.plain:
            lines += _of_parts(timed) if not timed.backbone else _of_networks(timed, timed_races, count_costs)
    return sorted(lines, key=lambda line: CLAIMS.index(line.claim))


def _parameters(cells: Sequence[PaperCell]) -> Line:
    found = [cell for cell in cells if cell.unit == "parameters"]
    agreeing = sum(cell.agrees for cell in found)
    row = {cell.loc: cell.ours for cell in found if (cell.table, cell.row) == ("Table 6", "resnet-18")}
    figure = f"{agreeing} of {len(found)} cells to the unit. At 224 pixels L-STN has {row[Loc.LSTN]:,} parameters, "
    figure += f"{row[Loc.LSTN] - row[Loc.STN]:+,} against STN and {row[Loc.LSTN] - row[Loc.VSTN]:+,} against V-STN"
    return Line(_PRINTED, "", judge_exact(agreeing == len(found)), figure)


def _flops(count_costs: CountCosts) -> Line:
    printed = dict(zip(*(read_tables()["table6_transformer"][key] for key in ("columns", "resnet-18")), strict=True))
    ours = {loc: transformer(count_costs(loc, "resnet-18", (224, 224), len(LABELS))) for loc in (Loc.STN, Loc.LSTN)}
    paper = printed["lstn gflops"] / printed["stn gflops"]
    ratio = ours[Loc.LSTN].paper_macs / ours[Loc.STN].paper_macs
    full = ours[Loc.LSTN].macs / ours[Loc.STN].macs
    figure = (
        f"{printed['lstn gflops']} / {printed['stn gflops']} = {paper:.3f} in the paper, {ratio:.3f} counted here; "
    )
    figure += f"{full:.3f} with grid and sampler"
    return Line(_FLOPS, "", judge_exact(max(ratio, full) <= _THIRD), figure)


def _of_parts(timed: "TimedRace") -> Iterator[Line]:
    ours, stn = ((f"localizer {loc.value}", timed.engine) for loc in (Loc.LSTN, Loc.STN))
    ratio = timed.race.ratio(ours, stn)
    whole = timed.race.ratio(
        (f"transformer {Loc.LSTN.value}", timed.engine), (f"transformer {Loc.STN.value}", timed.engine)
    )
    figure = f"its localizer takes {ratio} of the time of STN's, and its transformer {whole}"
    yield Line(_TIME, raced_where(timed), judge_below(ratio, _THIRD), figure, ratio)


def _of_networks(timed: "TimedRace", timed_races: Sequence["TimedRace"], count_costs: CountCosts) -> Iterator[Line]:
    race, names = timed.race, {loc: (loc.value, timed.engine) for loc in PAPER_LOCS}
    lstn = names[Loc.LSTN]
    if lstn not in race:
        return
    for loc in (Loc.STN, Loc.VSTN):
        if names[loc] in race:
            ratio, difference = race.ratio(lstn, names[loc]), race.sum_ms({lstn: 1, names[loc]: -1})
            figure = f"the network takes {ratio} of the time with {NAMES[loc]}, {difference} ms a call"
            if alone := _alone(timed, timed_races, loc):
                figure += f"; the transformer alone {alone}"
            yield Line(_CHEAPER[loc], raced_where(timed), judge_below(ratio, 1.0), figure, ratio)
    costs = _count(timed, Loc.LSTN, count_costs)
    if names[Loc.NONE] in race and costs is not None:
        flops = total(costs).paper_macs / (total(costs).paper_macs - transformer(costs).paper_macs)
        ratio = race.ratio(lstn, names[Loc.NONE])
        time = Interval(*(100 * (1 - 1 / value) for value in (ratio.value, ratio.low, ratio.high)))
        figure = f"{time} % of the network's time, {100 * (1 - 1 / flops):.1f} % of its FLOPs"
        yield Line(_SHARE, raced_where(timed), judge_no_more(ratio, flops), figure, ratio)


def _alone(timed: "TimedRace", timed_races: Sequence["TimedRace"], loc: Loc) -> Interval | None:
    """The same comparison of the transformers by themselves, where that was timed."""
    ours, other = ((f"transformer {each.value}", timed.engine) for each in (Loc.LSTN, loc))
    for alone in timed_races:
        if not alone.backbone and (alone.image_hw, alone.batch) == (timed.image_hw, timed.batch) and ours in alone.race:
            return alone.race.ratio(ours, other)
    return None


def raced_where(timed: "TimedRace") -> str:
    """Say where a race was run, as in `resnet-18, batch 1, ONNX Runtime`."""
    what = timed.backbone or "{} x {} pixels".format(*timed.image_hw)
    return f"{what}, batch {timed.batch}, {timed.engine}"


def _short(timed: "TimedRace") -> str:
    """Say which race a row is of, in a table where the engine is the same in all rows."""
    return f"{timed.backbone or f'{timed.image_hw[1]} pixels'}, batch {timed.batch}"


def _engines(timed_races: Sequence["TimedRace"]) -> str:
    return ", ".join(dict.fromkeys(timed.engine for timed in timed_races))


def networks_table(timed_races: Sequence["TimedRace"]) -> Table:
    """Lay out what each localizer adds to each network."""
    rows = []
    for timed in timed_races:
        for loc in NAMES if timed.backbone else ():
            name, none = (loc.value, timed.engine), (Loc.NONE.value, timed.engine)
            if name in timed.race:
                against = loc is not Loc.NONE and none in timed.race
                added = str(timed.race.sum_ms({name: 1, none: -1})) if against else ""
                ratio = str(timed.race.ratio(name, none)) if against else ""
                rows.append((_short(timed), NAMES[loc], str(timed.race.time_ms(name)), added, ratio))
    columns = ("network", "localizer", "ms a call", "ms more than none", "times as long as none")
    return Table(
        "Whole networks",
        columns,
        tuple(rows),
        words=2,
        note=f"On {_engines(timed_races)}. Medians, with 95 % intervals.",
    )


def sums_table(timed_races: Sequence["TimedRace"]) -> Table:
    """Lay the parts beside the whole, and what doesn't add up."""
    rows = []
    for timed in timed_races:
        for loc in () if timed.backbone else NAMES:
            whole = (f"transformer {loc.value}", timed.engine)
            parts = [(name, timed.engine) for name in (f"localizer {loc.value}", "grid", "sampler")]
            if whole in timed.race:
                times = [str(timed.race.time_ms(name)) for name in (*parts, whole)]
                left = str(timed.race.sum_ms({whole: 1, **dict.fromkeys(parts, -1)}))
                rows.append((_short(timed), NAMES[loc], *times, left))
    columns = ("transformer", "", "localizer ms", "grid ms", "sampler ms", "in one piece ms", "unaccounted ms")
    note = "Each part runs as an engine of its own, so each pays for being called. Unaccounted: the transformer in one "
    note += "piece less its three parts. What it adds to a whole network stands above: more than none."
    return Table("Parts and the whole", columns, tuple(rows), words=2, note=note)


def peers_table(timed_races: Sequence["TimedRace"]) -> Table:
    """Say how many times as fast as its peers our export runs."""
    rows = []
    for timed in timed_races:
        subject = Loc.LSTN.value if timed.backbone else f"transformer {Loc.LSTN.value}"
        ours = (subject, timed.engine)
        for name in timed.race.names:
            if name[0] == subject and name != ours:
                same = _SAME_LIBRARY.get(name[1], "")
                ratio = str(timed.race.ratio(name, (subject, same))) if (subject, same) in timed.race else ""
                rows.append(
                    (_short(timed), name[1], str(timed.race.time_ms(name)), str(timed.race.ratio(name, ours)), ratio)
                )
    note = (
        f"Ours runs on {_engines(timed_races)}, peers in the same races; a row with pixels is of transformers alone. "
    )
    note += "Below 1, the peer is faster."
    columns = ("L-STN, ours", "peer", "peer's ms a call", "ours is times as fast", "in the same library")
    return Table("Peers", columns, tuple(rows), words=2, note=note)


def costs_of(timed_races: Iterable["TimedRace"], count_costs: CountCosts) -> dict[str, dict[Loc, PartCosts]]:
    """Count what the paper has of what was timed: backbone -> localizer -> costs."""
    found: dict[str, dict[Loc, PartCosts]] = {}
    for timed in timed_races:
        whole = timed.backbone and timed.plain
        costs = {loc: _count(timed, loc, count_costs) for loc in PAPER_LOCS} if whole else {}
        found |= (
            {timed.backbone: known} if (known := {loc: each for loc, each in costs.items() if each is not None}) else {}
        )
    return found


def _count(timed: "TimedRace", loc: Loc, count_costs: CountCosts) -> PartCosts | None:
    """None for a model that only another version of lstn knows, whose file was timed."""
    try:
        return count_costs(loc, timed.backbone, timed.image_hw, len(LABELS))
    except UsageError:
        return None
