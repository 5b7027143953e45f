"""The tables of `lstn bench`: every model's times or images/s, and how they compare with the first one's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstn.report.table import Table
from lstn.terminal import printable
from lstn.zoo.named_models import shown_path

if TYPE_CHECKING:
    from lstn.interval import Interval
    from lstn.runtime.bench.throughput import Throughput
    from lstn.runtime.bench.timed_engines import BenchResult

_NARROW, _TINY = 76, 52
"""Columns of a terminal below which only the most important figures are shown."""


def race_table(results: Sequence["BenchResult"], width: int) -> Table:
    """Times in ms. A narrow terminal goes without what --json keeps anyway."""
    wide = width >= _NARROW
    headings = ("batch", "p50 ms", *(("p90",) if wide else ()), "p99", *(("images/s",) if wide else ()))
    if width < _TINY:
        headings = ("batch", "p50 ms")
    rows, styles = [], []
    for previous, result in zip([None, *results], results, strict=False):
        latency = result.latency
        if previous is not None and previous.batch != result.batch:
            rows.append(("",) * (len(headings) + 2))
            styles.append("")
        cells = {
            "batch": str(result.batch),
            "p50 ms": f"{latency.p50_ms:.3f}",
            "p90": f"{latency.p90_ms:.3f}",
            "p99": f"{latency.p99_ms:.3f}",
            "images/s": f"{result.images_per_s:.1f}",
        }
        rows.append((printable(shown_path(result.path)), *(cells[heading] for heading in headings), _against(result)))
        styles.append(_colour(result))
    return Table("", ("model", *headings, "time, first = 1"), tuple(rows), styles=tuple(styles))


def throughput_table(found: Sequence["Throughput"]) -> Table:
    """Images/s: the median, and what 90 and 99 per cent of the stretches reach."""
    rows = [
        (
            printable(shown_path(each.path)),
            str(each.batch),
            *(f"{each.images_per_s(percentile):.1f}" for percentile in (50, 10, 1)),
            "1" if each.ratio is None else _interval(each.ratio),
        )
        for each in found
    ]
    headings = ("model", "batch", "images/s p50", "p10", "p1", "images/s, first = 1")
    return Table("", headings, tuple(rows))


def _against(result: "BenchResult") -> str:
    if result.ratio is None:
        return "1"
    return _interval(result.ratio)


def _interval(ratio: "Interval") -> str:
    value, low, high = (
        f"{number:.3f}" if number < 10 else f"{number:.1f}" for number in (ratio.value, ratio.low, ratio.high)
    )
    return f"{value}  {low} to {high}"


def _colour(result: "BenchResult") -> str:
    """Green or red only where the interval leaves no doubt."""
    if result.ratio is None or result.ratio.low <= 1 <= result.ratio.high:
        return ""
    return "green" if result.ratio.high < 1 else "red"
