"""Report of a tuning: tables, one page with the Pareto front, and JSON."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from lstn.interval import Interval
from lstn.report.charts import Point, scatter
from lstn.report.table import Table
from lstn.report.web_page import bullets, figure, section, table_section, whole_page
from lstn.report.wording import counted
from lstn.research.tune.candidates import Candidate
from lstn.research.tune.setting_search import CallTime, TunedSetting
from lstn.research.tune.setting_times import Finalist
from lstn.research.tune.tuned import Tuned
from lstn.zoo.named_models import shown_path

VERSION = 1

_SETTING = ("engine", "precision", "crop", "batch", "threads")


def files_table(tuned: Tuned) -> Table:
    """Return every file, with what it costs."""
    rows = [
        (*_version(each), each.version.path.name, f"{100 * each.top1:.1f}", f"{each.drop:.2f}", _drift(each.drift_px),
         each.beyond or "yes")
        for each in tuned.candidates
    ]  # fmt: skip
    columns = (*_SETTING[:3], "file", "top-1 %", "points lost", "drift, px", "may be used")
    note = "Each file answers the same validation images in its own engine; drift: of 99 % of the warps at most."
    return Table("Files", columns, tuple(rows), 4, note)


def finalists_table(tuned: Tuned) -> Table:
    """Return the model as it comes and the best settings, timed in turn."""
    rows = [
        (
            *_setting(each.setting),
            *_times(each.timed),
            "" if each.ratio is None else str(each.ratio),
            _said(tuned, each),
        )
        for each in tuned.finalists
    ]
    columns = (*_SETTING, "images/s", "p50, ms", "p99, ms", "times the first", "")
    note = "Timed in turn, by their medians. The first is the model as it comes. Intervals are 95 %, paired by round."
    return Table("The best", columns, tuple(rows), 3, note)


def front_table(tuned: Tuned) -> Table:
    """Return the trials that no other beats in images/s, time and accuracy at once."""
    rows = [
        (str(number), *_setting(setting), *_times(timed), f"{100 * setting.candidate.top1:.1f}")
        for number, (setting, timed) in enumerate(tuned.front, start=1)
    ]
    columns = ("", *_SETTING, "images/s", "p50, ms", "p99, ms", "top-1 %")
    note = (
        f"Of {counted(len(tuned.trials), 'trial')} of {counted(tuned.settings, 'setting')}, each timed alone: those "
        "that no other beats in images/s, time of a call and accuracy at once."
    )
    return Table("The Pareto front", columns, tuple(rows), 4, note)


def advice(tuned: Tuned) -> str:
    """Return the command that uses the best setting, or why there is none."""
    if tuned.best is None:
        limit = "" if tuned.request.p99_ms is None else f" of {tuned.request.p99_ms:g} ms"
        return f"no setting kept the limit{limit} in its last timing; raise --p99-ms, or try smaller batches"
    setting = tuned.best.setting
    file = shown_path(setting.candidate.version.path)
    return f"lstn infer images/ --engine {file} --batch {setting.batch} --threads {setting.threads}"


def tuning_page(tuned: Tuned, source: str) -> str:
    """Return all of it as one web page."""
    sections = [
        section("What to use", bullets([advice(tuned), *_limits(tuned)])),
        table_section(finalists_table(tuned)),
        section("Images/s against the time of a call", figure(_chart(tuned), _CAPTION)) if tuned.trials else "",
        *map(table_section, (front_table(tuned), files_table(tuned), _trials_table(tuned))),
    ]
    return whole_page(f"Tuning of {source}", f"{tuned.environment.cpu}, {tuned.environment.cores} cores", sections)


def tuning_report(tuned: Tuned, source: str) -> dict[str, Any]:
    """Return all of it for JSON."""
    return {
        "tuned": source,
        "version": VERSION,
        "limits": asdict(tuned.request.limits) | {"p99_ms": tuned.request.p99_ms},
        "environment": asdict(tuned.environment),
        "files": [
            {**_named(each), "sha256": each.sha256, "top1": each.top1, "drop": each.drop, "drift_px": each.drift_px,
             "beyond": each.beyond}
            for each in tuned.candidates
        ],
        "settings": tuned.settings,
        "trials": [_trial(setting, timed) for setting, timed in tuned.trials],
        "finalists": [
            _trial(each.setting, each.timed) | {"ratio": None if each.ratio is None else asdict(each.ratio)}
            for each in tuned.finalists
        ],
        "best": None if tuned.best is None else _trial(tuned.best.setting, tuned.best.timed),
        "command": None if tuned.best is None else advice(tuned),
    }  # fmt: skip


_CAPTION = (
    "Each mark is a setting of the Pareto front, with its number in the table below: images a second, against the time "
    "that 99 of 100 calls stay within. A colour is an engine."
)


def _chart(tuned: Tuned) -> str:
    engines = list(dict.fromkeys(each.version.engine for each in tuned.candidates))
    styles = ("stn", "lstn", "vstn", "none")
    points = [
        Point(
            timed.p99_ms,
            Interval(timed.images_per_s, timed.images_per_s, timed.images_per_s),
            styles[engines.index(setting.candidate.version.engine) % len(styles)],
            str(number),
        )
        for number, (setting, timed) in enumerate(tuned.front, start=1)
    ]
    return scatter(points, x_title="p99 of a call, ms", y_title="images/s")


def _limits(tuned: Tuned) -> Iterator[str]:
    limits, p99_ms = tuned.request.limits, tuned.request.p99_ms
    yield f"at most {limits.max_drop:g} points of top-1 accuracy lost"
    if limits.max_drift_px is not None:
        yield f"at most {limits.max_drift_px:g} pixels of drift for 99 % of the warps"
    if p99_ms is not None:
        yield f"at most {p99_ms:g} ms for 99 of 100 calls"


def _trials_table(tuned: Tuned) -> Table:
    best_first = sorted(tuned.trials, key=lambda each: -each[1].images_per_s)
    rows = [(*_setting(setting), *_times(timed)) for setting, timed in best_first]
    return Table("Every trial", (*_SETTING, "images/s", "p50, ms", "p99, ms"), tuple(rows), 3)


def _version(candidate: Candidate) -> tuple[str, str, str]:
    version = candidate.version
    precision = "fp32" if version.precision is None else version.precision.value
    return version.engine.value, precision, "x".join(map(str, version.crop_hw))


def _setting(setting: TunedSetting) -> tuple[str, ...]:
    return (*_version(setting.candidate), str(setting.batch), str(setting.threads))


def _times(timed: CallTime) -> Iterable[str]:
    speed = f"{timed.images_per_s:,.0f}" if timed.images_per_s >= 100 else f"{timed.images_per_s:.3g}"
    return (speed, f"{timed.p50_ms:.3g}", f"{timed.p99_ms:.3g}")


def _said(tuned: Tuned, finalist: Finalist) -> str:
    if finalist is tuned.best:
        return "best"
    limit = tuned.request.p99_ms
    return "too slow" if limit is not None and finalist.timed.p99_ms > limit else ""


def _drift(drift_px: float | None) -> str:
    return "" if drift_px is None else f"{drift_px:.3f}"


def _named(candidate: Candidate) -> dict[str, object]:
    engine, precision, _ = _version(candidate)
    return {
        "engine": engine,
        "precision": precision,
        "crop_hw": candidate.version.crop_hw,
        "file": str(candidate.version.path),
    }


def _trial(setting: TunedSetting, timed: CallTime) -> dict[str, Any]:
    return {**_named(setting.candidate), "batch": setting.batch, "threads": setting.threads, **asdict(timed)}
