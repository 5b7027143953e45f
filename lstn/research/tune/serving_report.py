"""Report of a server's tuning: tables, one page, and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lstn.interval import Interval
from lstn.report.charts import Point, lines
from lstn.report.table import Table
from lstn.report.web_page import bullets, figure, section, table_section, whole_page
from lstn.report.wording import counted
from lstn.research.tune.open_loop import RequestTimes
from lstn.research.tune.server_under_load import ServingSetting
from lstn.research.tune.serving_trials import trial_report, trials_report
from lstn.research.tune.serving_tuned import ServingFinalist, TunedServer

_COLUMNS = ("--max-batch", "--max-wait-ms", "answers/s", "p50, ms", "p99, ms")
_STYLES = ("stn", "lstn", "vstn", "none")


def served_best_table(tuned: TunedServer) -> Table:
    """Return the server's own setting and the best ones, tried again in turn."""
    rows = [
        (*_shown(each.setting, each.times), _range([times.p50_ms for times in each.rounds]), _said(tuned, each))
        for each in tuned.finalists
    ]
    note = (
        f"Each tried {counted(len(tuned.finalists[0].rounds), 'time')} more, in turn; medians. The first is what lstn "
        "serve has by default. Times count from the moment at which a request was due."
    )
    return Table("The best", (*_COLUMNS, "p50 of each", ""), tuple(rows), 0, note)


def served_trials_table(tuned: TunedServer) -> Table:
    """Return every setting, in the order in which they were tried."""
    rows = [(*_shown(setting, times), tuned.request.fails(times) or "yes") for setting, times in tuned.trials.items()]
    note = f"Each tried once, with {counted(_requests(tuned), 'request')}."
    return Table("Every setting", (*_COLUMNS, "may be used"), tuple(rows), 0, note)


def serving_advice(tuned: TunedServer, served: str) -> str:
    """Return the command that serves with the best setting, or why there is none. served: as `--engine` names it"""
    if tuned.best is not None:
        return f"lstn serve --engine {served} {tuned.best.setting}"
    request = tuned.request
    if kept := [each for each in tuned.finalists if request.keeps_up(each.times)]:
        near = min(kept, key=lambda each: each.times.p99_ms)
        return (
            f"no setting answered 99 of 100 requests within {request.p99_ms:g} ms: the nearest, {near.setting}, took "
            f"{_figure(near.times.p99_ms)} ms; raise --p99-ms, or give --load a lower rate"
        )
    most = max(each.times.answered_per_s for each in tuned.finalists)
    return (
        f"no setting kept up with {request.load:g} requests/s: the most was {_figure(most)}; give --load a lower rate"
    )


def serving_page(tuned: TunedServer, served: str) -> str:
    """Return all of it as one web page."""
    chart = _chart(tuned)
    sections = [
        section("What to use", bullets([serving_advice(tuned, served), *_asked(tuned)])),
        table_section(served_best_table(tuned)),
        section("p50 against the size of batches", figure(chart, _CAPTION)) if chart else "",
        table_section(served_trials_table(tuned)),
    ]
    where = f"{tuned.environment.cpu}, {tuned.environment.cores} cores, which the clients used as well"
    return whole_page(f"Tuning of lstn serve with {served}", where, sections)


def serving_report(tuned: TunedServer, served: str) -> dict[str, Any]:
    """Return all of it for JSON."""
    request, best = tuned.request, tuned.best
    return trials_report(served, tuned.key, tuned.trials) | {
        "load": {"requests_per_s": request.load, "seconds": request.seconds},
        "p99_ms": request.p99_ms,
        "environment": asdict(tuned.environment),
        "finalists": [_finalist(each) for each in tuned.finalists],
        "best": None if best is None else _finalist(best),
        "command": None if best is None else serving_advice(tuned, served),
    }


_CAPTION = (
    "The time that half of the requests stay within. Each line is a --max-wait-ms; marks are settings that may be used."
)


def _chart(tuned: TunedServer) -> str:
    """Return a line for each wait, of the settings that may be used; empty if there is none."""
    good = [(setting, times) for setting, times in tuned.trials.items() if not tuned.request.fails(times)]
    waits = sorted({setting.max_wait_ms for setting, _ in good})
    series: dict[str, Sequence[Point]] = {
        f"{wait:g} ms": [
            Point(setting.max_batch, Interval(*[times.p50_ms] * 3), _STYLES[number % len(_STYLES)], "")
            for setting, times in good
            if setting.max_wait_ms == wait
        ]
        for number, wait in enumerate(waits)
    }
    return lines(series, x_title="--max-batch", y_title="p50, ms") if series else ""


def _asked(tuned: TunedServer) -> Iterator[str]:
    request = tuned.request
    yield f"{request.load:g} requests/s of one image each, at random moments, from clients on the same machine"
    if request.p99_ms is not None:
        yield f"at most {request.p99_ms:g} ms for 99 of 100 requests"


def _shown(setting: ServingSetting, times: RequestTimes) -> tuple[str, ...]:
    figures = (times.answered_per_s, times.p50_ms, times.p99_ms)
    return str(setting.max_batch), f"{setting.max_wait_ms:g}", *map(_figure, figures)


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _said(tuned: TunedServer, finalist: ServingFinalist) -> str:
    return "best" if finalist is tuned.best else tuned.request.fails(finalist.times)


def _requests(tuned: TunedServer) -> int:
    return next(iter(tuned.trials.values())).requests


def _range(found: Sequence[float]) -> str:
    return f"{_figure(min(found))} to {_figure(max(found))}"


def _finalist(finalist: ServingFinalist) -> dict[str, Any]:
    rounds = [trial_report(finalist.setting, times) for times in finalist.rounds]
    return trial_report(finalist.setting, finalist.times) | {"rounds": rounds}
