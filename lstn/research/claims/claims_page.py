"""The report of `lstn claims` as one web page: no scripts, nothing from a network, light and dark, phone and print."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from lstn.contract import Loc
from lstn.interval import Interval
from lstn.nn.costs.part_costs import PartCosts, transformer
from lstn.report.charts import Point, bars, lines, scatter
from lstn.report.web_page import bullets, figure, section, table_section, whole_page
from lstn.report.wording import counted
from lstn.research.claims.cost_tables import agreement
from lstn.research.claims.findings import NAMES, raced_where
from lstn.research.claims.paper import INCONSISTENCIES
from lstn.research.claims.time_worth import AS_GOOD, follow_of, places
from lstn.research.claims.verdict import Verdict
from lstn.research.study.study_results import Study

if TYPE_CHECKING:
    from lstn.research.claims.claims_report import ClaimsReport
    from lstn.research.claims.races import TimedRace

_LOCALIZERS = (Loc.STN, Loc.VSTN, Loc.LSTN)
_MARKS = {Verdict.HOLDS: "✓", Verdict.FAILS: "✗", Verdict.NOISE: "≈"}


def claims_page(report: "ClaimsReport") -> str:
    """Return the whole page: verdicts first, then pictures, timings, counts, and the machine."""
    sections = [
        _verdicts(report),
        section("Pictures", f'<div class="pictures">{"".join(_pictures(report))}</div>'),
        *(table_section(table) for table in report.timings if table.rows),
        *(table_section(table) for table in report.counts),
        section("A word on the paper's numbers", bullets(INCONSISTENCIES)),
        _machine(report),
    ]
    return whole_page("L-STN's claims, measured", report.where, sections)


def _verdicts(report: "ClaimsReport") -> str:
    items = []
    claims = dict.fromkeys(line.claim for line in report.lines)
    for claim in claims:
        found = [line for line in report.lines if line.claim == claim]
        rows = "".join(
            f'<li><span class="verdict {line.verdict.name.lower()}">{_MARKS[line.verdict]} {line.verdict.value}</span>'
            f"<span>{f'<b>{escape(line.where)}</b>: ' if line.where else ''}{escape(line.figure)}.</span></li>"
            for line in found
        )
        items.append(f'<h3>{escape(claim)}</h3><ul class="lines">{rows}</ul>')
    note = (
        "A claim about time holds if all of the 95 % interval of a ratio lies more than 2 % below its bound, and fails "
        "if all of it lies more than 2 % above. Else the machine can't tell."
    )
    if report.study is not None:
        points, follow = AS_GOOD
        note += (
            f" A localizer is as good as L-STN if it makes at most {points:g} points more errors and follows at most "
            f"{follow:g} less, by the intervals over seeds."
        )
    return section("Verdicts", "".join(items) + f'<p class="note">{note}</p>')


def _pictures(report: "ClaimsReport") -> Iterable[str]:
    if report.study is not None:
        yield from _worth(report.study, report.timed_races)
    parts = [timed for timed in report.timed_races if not timed.backbone]
    for timed in parts:
        like = (costs for name, costs in report.costs.items() if _size_of(report, name) == timed.image_hw)
        if (costs := next(like, None)) is not None and set(_LOCALIZERS) <= set(costs):
            yield figure(
                _flops_and_time(timed, costs),
                f"Transformers alone, {raced_where(timed)}: time against FLOPs. "
                "Dashed: where time would follow FLOPs, from STN on.",
            )
        yield figure(_parts(timed), f"Where a transformer's time goes, {raced_where(timed)}. Parts run alone.")
    for backbone in dict.fromkeys(timed.backbone for timed in report.timed_races if timed.backbone):
        timed_races = [timed for timed in report.timed_races if timed.backbone == backbone]
        yield figure(
            _batches(timed_races), f"{backbone}, {timed_races[0].engine}: time for an image against batch size."
        )


def _worth(study: Study, timed_races: Sequence["TimedRace"]) -> Iterable[str]:
    """What the time of a network buys, on each engine: test errors in one picture, follow in the next."""
    for here in places(timed_races):
        errors = {loc: study.error(loc) for loc in here.locs}
        follow = {loc: follow_of(study, loc) for loc in here.locs}
        for title, found, caption in (
            ("test error %", errors, "what a millisecond buys: test error against time."),
            ("follow", follow, "what a millisecond buys: follow against time, the mean over kinds of moves."),
        ):
            points = [
                Point(here.time_ms(loc).value, value, loc.value, _SHORT[loc])
                for loc, value in found.items()
                if value is not None
            ]
            if points:
                times = [here.time_ms(loc).value for loc in here.locs]
                drawn = scatter(points, x_title="ms a call, of the network", y_title=title, beside=times)
                yield figure(drawn, f"{here}, {caption} Bars are 95 %.")


def _size_of(report: "ClaimsReport", backbone: str) -> tuple[int, int]:
    return next(timed.image_hw for timed in report.timed_races if timed.backbone == backbone)


def _flops_and_time(timed: "TimedRace", costs: Mapping[Loc, PartCosts]) -> str:
    points = {
        loc: Point(
            transformer(costs[loc]).macs / 1e6 * timed.batch,
            timed.race.time_ms((f"transformer {loc.value}", timed.engine)),
            loc.value,
            NAMES[loc],
        )
        for loc in _LOCALIZERS
    }
    return scatter(
        list(points.values()), x_title="million multiply-accumulates", y_title="ms a call", along=points[Loc.STN]
    )


def _parts(timed: "TimedRace") -> str:
    rows, marks = {}, {}
    for loc in NAMES:
        if (f"transformer {loc.value}", timed.engine) not in timed.race:
            continue
        segments = (("localizer", f"localizer {loc.value}"), ("grid", "grid"), ("sampler", "sampler"))
        times = [(name, name, timed.race.time_ms((subject, timed.engine)).value) for name, subject in segments]
        rows[NAMES[loc]] = times
        marks[NAMES[loc]] = timed.race.time_ms((f"transformer {loc.value}", timed.engine))
    return bars(rows, marks, x_title="ms a call")


def _batches(timed_races: Iterable["TimedRace"]) -> str:
    series: dict[str, list[Point]] = {}
    for timed in timed_races:
        for loc in NAMES:
            if (loc.value, timed.engine) in timed.race:
                time = timed.race.time_ms((loc.value, timed.engine))
                each = Interval(*(value / timed.batch for value in (time.value, time.low, time.high)))
                series.setdefault(_SHORT[loc], []).append(Point(timed.batch, each, loc.value, _SHORT[loc]))
    return lines(series, x_title="images a call", y_title="ms an image")


_SHORT = {**NAMES, Loc.NONE: "none"}


def _machine(report: "ClaimsReport") -> str:
    environment, setup = report.environment, report.setup
    libraries = ", ".join(f"{name} {version}" for name, version in environment.libraries.items())
    rows = (
        ("CPU", f"{environment.cpu}, {counted(environment.cores, 'core')}"),
        ("Load at the start", "unknown" if environment.load is None else str(environment.load)),
        ("GPU", ", ".join(gpu.name for gpu in environment.gpus) or "none"),
        ("System", f"{environment.system}, Python {environment.python}"),
        ("Libraries", libraries),
        ("Engine", setup.engine.value),
        ("Threads", "as each library likes" if setup.threads is None else str(setup.threads)),
        ("Seconds", f"{setup.seconds:g} for each entrant at each batch size, in three sittings; seed {setup.seed}"),
        ("Made", report.made),
    )
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    agreeing = f'<p class="note">{escape(agreement(report.cells))} agree with the paper.</p>'
    return section("The machine", f'<table class="facts">{cells}</table>{agreeing}')
