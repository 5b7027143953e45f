"""Worth of a millisecond: errors and follow of a study's networks against the time that each takes, on each engine.

The paper asks for a lightweight localizer and counts operations. Here one is light if it adds little time, and worth it
if the network makes fewer errors with it than without. Errors and follow are paired by seed, times within rounds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from lstn.contract import Loc
from lstn.health.follow import UNITS, judged_kinds
from lstn.interval import Interval
from lstn.report.table import Table
from lstn.report.wording import counted
from lstn.research.claims.findings import NAMES, Line
from lstn.research.claims.verdict import Verdict, judge_below
from lstn.research.study.study_results import Study, StudyCell, interval_of

if TYPE_CHECKING:
    from lstn.research.claims.races import TimedRace

LIGHTEST = "L-STN is the lightweight localizer: the lightest that makes fewer errors than none"
UNBEATEN = "No localizer that takes less time is as good as L-STN"

AS_GOOD = 0.3, 0.05
"""Points of error, and of follow, by which a localizer may be worse than L-STN and count as good as it."""


@dataclass(frozen=True, slots=True)
class TimedPlace:
    """Where networks ran: one engine and batch size of a race."""

    timed: "TimedRace"
    via: str

    def __str__(self) -> str:
        return f"{self.timed.backbone}, {self.short}"

    @property
    def short(self) -> str:
        """Say it without the backbone, which is the same in all of a study."""
        return f"batch {self.timed.batch}, {self.via}"

    def time_ms(self, loc: Loc) -> Interval:
        """Return the median time of a call."""
        return self.timed.race.time_ms((loc.value, self.via))

    def added_ms(self, loc: Loc) -> Interval:
        """Return how much longer a call takes than without a localizer."""
        return self.timed.race.sum_ms({(loc.value, self.via): 1, (Loc.NONE.value, self.via): -1})

    def ratio(self, loc: Loc, over: Loc) -> Interval:
        """Return how many times as long a call takes as with another localizer."""
        return self.timed.race.ratio((loc.value, self.via), (over.value, self.via))

    @property
    def locs(self) -> tuple[Loc, ...]:
        """Which localizers ran there."""
        return tuple(Loc(subject) for subject, via in self.timed.race.names if via == self.via)


def places(timed_races: Sequence["TimedRace"]) -> list[TimedPlace]:
    """Return every engine of every race."""
    return [
        TimedPlace(timed, via) for timed in timed_races for via in dict.fromkeys(via for _, via in timed.race.names)
    ]


def mean_follow(cell: StudyCell) -> float | None:
    """Return a run's follow, the mean over the kinds of move that its theta could answer; None if not measured."""
    kinds = [] if cell.follow is None else judged_kinds(cell.follow)
    return fmean(each["value"] for _, each in kinds) if kinds else None


def follow_of(study: Study, loc: Loc) -> Interval | None:
    """Return a localizer's follow over seeds; None if it wasn't measured."""
    return interval_of([follow for cell in study.of(loc) if (follow := mean_follow(cell)) is not None])


def worth_table(study: Study, timed_races: Sequence["TimedRace"]) -> Table:
    """Lay errors and follow of every network beside its time, on every engine."""
    rows = []
    for place in places(timed_races):
        for loc in place.locs:
            against = loc is not Loc.NONE and Loc.NONE in place.locs
            added, gain = (place.added_ms(loc), study.gain(loc, Loc.NONE)) if against else (None, None)
            worth = None if added is None or gain is None else quotient(gain[0], added)
            error, moves = study.error(loc), [study.follow(loc, kind) for kind in UNITS]
            trained = (error, None if gain is None else gain[0], worth, *moves)
            times = (place.time_ms(loc), added)
            rows.append((place.short, NAMES[loc], *map(_shown, times), *map(_shown, trained)))
    columns = (
        "engine", "localizer", "ms a call", "ms more than none", "test error %", "points fewer errors than none",
        "points a ms", *(f"follows {kind}" for kind in UNITS),
    )  # fmt: skip
    seeds = max((len(study.of(loc)) for loc in study.locs), default=0)
    what = ", ".join(study.settings.get(name, "") for name in ("model", "data", "image size"))
    note = (
        f"Trained: {what}; {counted(seeds, 'seed')}. Errors and follow are means over seeds, paired where they are "
        "compared, times are medians, all with 95 % intervals. Points a ms: empty where the network takes no more time "
        "than without."
    )
    return Table("What a millisecond buys", columns, tuple(rows), words=2, note=note)


def judge_worth(study: Study, timed_races: Sequence["TimedRace"]) -> list[Line]:
    """Judge what the paper's question comes to, on every engine where L-STN ran; the first claim first."""
    found = [place for place in places(timed_races) if Loc.LSTN in place.locs]
    lightest = [_lightest(study, place) for place in found if Loc.NONE in place.locs]
    return lightest + [line for place in found for line in _rivals(study, place)]


def _lightest(study: Study, place: TimedPlace) -> Line:
    """Compare L-STN with the quickest other that makes fewer errors than none."""
    helps = {loc: _helps(study, loc) for loc in place.locs if loc is not Loc.NONE}
    others = [loc for loc, helping in helps.items() if helping and loc is not Loc.LSTN]
    rival = min(others, key=lambda loc: place.time_ms(loc).value, default=None)
    shown = [Loc.LSTN] if rival is None else [rival, Loc.LSTN]
    figure = "; ".join(
        f"{NAMES[loc]} adds {place.added_ms(loc)} ms, and the network makes {_gain_shown(study, loc)}" for loc in shown
    )
    ratio = None if rival is None else place.ratio(rival, Loc.LSTN)
    quicker = False if ratio is None else _decided(judge_below(ratio, 1.0))
    if quicker:
        beaten: bool | None = True
    else:
        beaten = None if quicker is None or helps[Loc.LSTN] is None else not helps[Loc.LSTN]
    return Line(LIGHTEST, str(place), _verdict(beaten), figure, ratio)


def _rivals(study: Study, place: TimedPlace) -> Iterator[Line]:
    """Compare each other localizer with L-STN: in time, in errors, and in follow where that was measured."""
    for loc in place.locs:
        if loc in (Loc.NONE, Loc.LSTN):
            continue
        ratio, gain = place.ratio(loc, Loc.LSTN), study.gain(loc, Loc.LSTN)
        follow = _follow_gain(study, loc, Loc.LSTN)
        figure = f"the network takes {ratio} of the time with L-STN"
        worse = []
        for found, margin, unit in zip((gain, follow), AS_GOOD, ("points fewer errors", "more follow"), strict=True):
            if found is not None:
                figure += f", {_signed(*found)} {unit}"
                worse.append(_below(*found, -margin))
        as_good = False if True in worse else None if None in worse or not worse else True
        quicker = _decided(judge_below(ratio, 1.0))
        beaten = False if quicker is False or as_good is False else True if quicker and as_good else None
        yield Line(UNBEATEN, f"{NAMES[loc]}, {place}", _verdict(beaten), figure, ratio)


def _helps(study: Study, loc: Loc) -> bool | None:
    """Whether it makes fewer errors than none; None where seeds are too few or too different to tell."""
    gain = study.gain(loc, Loc.NONE)
    more = None if gain is None else _below(*gain, 0.0)
    return None if more is None else not more


def _gain_shown(study: Study, loc: Loc) -> str:
    gain = study.gain(loc, Loc.NONE)
    return "no run to compare" if gain is None else f"{_signed(*gain)} points fewer errors than without"


def _follow_gain(study: Study, loc: Loc, over: Loc) -> tuple[Interval, int] | None:
    """Return by how much `loc` follows more than `over`, seed by seed, and the number of seeds."""
    other = {cell.seed: mean_follow(cell) for cell in study.of(over)}
    pairs = [(mean_follow(cell), other.get(cell.seed)) for cell in study.of(loc)]
    gains = [own - known for own, known in pairs if own is not None and known is not None]
    interval = interval_of(gains)
    return None if interval is None else (interval, len(gains))


def _below(figure: Interval, seeds: int, bound: float) -> bool | None:
    """Whether a figure over seeds lies below a bound; None where the interval, or one seed, doesn't say."""
    if seeds < 2 or figure.low <= bound <= figure.high:
        return None
    return figure.high < bound


def _decided(verdict: Verdict) -> bool | None:
    return None if verdict is Verdict.NOISE else verdict is Verdict.HOLDS


def _verdict(beaten: bool | None) -> Verdict:
    return Verdict.NOISE if beaten is None else Verdict.FAILS if beaten else Verdict.HOLDS


def _signed(figure: Interval, seeds: int) -> str:
    return str(figure) if seeds > 1 else f"{figure.value:.2f} (one seed)"


def _shown(figure: Interval | None) -> str:
    """Return a figure of a table; of one seed it has no interval."""
    return "" if figure is None else str(figure) if figure.high > figure.low else f"{figure.value:.2f}"


def quotient(one: Interval, other: Interval) -> Interval | None:
    """Divide a figure by a time; None unless all of the time is above 0. The bounds are the widest that can be."""
    if other.low <= 0:
        return None
    ends = [each / time for each in (one.low, one.high) for time in (other.low, other.high)]
    return Interval(one.value / other.value, min(ends), max(ends))
