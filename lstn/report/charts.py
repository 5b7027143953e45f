"""Charts as inline SVG, drawn for 360 pixels so that a phone shows them at full size.

Colours are classes of the page's style sheet, which has one set for light and one for dark; nothing is told by colour
alone, for every mark is labelled.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from lstn.interval import Interval
from lstn.report.wording import counted

WIDTH, HEIGHT = 360, 264
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 14, 40
_TICKS = 5
_BINS = 30
_LETTER = 7.0
"""Pixels of a label's letter, about."""
_ROOM_FOR_LABELS = 1.3
"""So much wider than its marks is a chart whose lines are named at their ends."""


@dataclass(frozen=True, slots=True)
class Point:
    """A mark: where it stands on the x axis, its figure, the style class of its colour, its label."""

    x: float
    y: Interval
    style: str
    label: str


def scatter(
    points: Sequence[Point], *, x_title: str, y_title: str, along: Point | None = None, beside: Sequence[float] = ()
) -> str:
    """Points with error bars; a dashed line runs from the origin through `along`: what is proportional to it.

    Without `along`, the x axis begins near points that are all far from 0. `beside` are other numbers for which it has
    room, so that two pictures have one axis.
    """
    across = [*beside, *(point.x for point in points)]
    reach = max(across) - min(across)
    start = min(across) - 0.5 * reach if along is None and 0 < reach < 0.4 * max(across) else 0.0
    frame = _Frame(max(across), max(point.y.high for point in points), x_start=start)
    body = [frame.axes(x_title, y_title)]
    if along is not None:
        reach = min(frame.x_end, frame.y_end * along.x / along.y.value)
        end = (frame.x(reach), frame.y(along.y.value * reach / along.x))
        body.append(f'<path class="guide" d="M{frame.x(0):.1f} {frame.y(0):.1f}L{end[0]:.1f} {end[1]:.1f}"/>')
    placed: list[tuple[float, float, float]] = []
    for point in points:
        x, y = frame.x(point.x), frame.y(point.y.value)
        on_left = x > WIDTH * 0.7
        body.append(_error_bar(frame, x, point))
        body.append(f'<circle class="{point.style}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        anchor, shift = ("end", -9) if on_left else ("start", 9)
        place = _free(placed, x + shift, y + 4, point.label, on_left=on_left)
        body.append(_text(x + shift, place, point.label, anchor=anchor, style=f"label {point.style}"))
    described = "; ".join(f"{point.label}: {point.x:.4g}, {point.y}" for point in points)
    return _svg(body, f"{y_title} against {x_title}. {described}")


def lines(series: Mapping[str, Sequence[Point]], *, x_title: str, y_title: str) -> str:
    """One line for each series over the same few x, which stand side by side whatever they are."""
    positions = sorted({point.x for points in series.values() for point in points})
    highest = max(point.y.high for points in series.values() for point in points)
    frame = _Frame(len(positions), highest)
    body = [frame.axes(x_title, y_title, names=[f"{position:g}" for position in positions])]
    ends, styles = [], {}
    for number, (label, points) in enumerate(series.items()):
        aside = min(10, 30 / len(series)) * (
            number - (len(series) - 1) / 2
        )  # else equal figures' bars cover each other
        places = [
            (frame.x(positions.index(point.x) + 0.35) + aside, point) for point in sorted(points, key=lambda p: p.x)
        ]
        path = "L".join(f"{x:.1f} {frame.y(point.y.value):.1f}" for x, point in places)
        body.append(f'<path class="line {places[0][1].style}" d="M{path}"/>')
        for x, point in places:
            body.append(_error_bar(frame, x, point))
            body.append(f'<circle class="{point.style}" cx="{x:.1f}" cy="{frame.y(point.y.value):.1f}" r="4"/>')
        ends.append((frame.y(places[-1][1].y.value), places[-1][0] - aside + min(5 * len(series), 15), label))
        styles[label] = places[-1][1].style
    body += [_text(x + 9, y + 4, label, style=f"label {styles[label]}") for y, x, label in _apart(ends)]
    described = "; ".join(
        f"{label}: " + ", ".join(f"{p.x:g}: {p.y}" for p in points) for label, points in series.items()
    )
    return _svg(body, f"{y_title} against {x_title}. {described}")


def bars(rows: Mapping[str, Sequence[tuple[str, str, float]]], marks: Mapping[str, Interval], *, x_title: str) -> str:
    """Lying bars: label -> (segment's name, style class, length); a mark shows another figure and its interval."""
    longest = max(
        [sum(length for *_, length in segments) for segments in rows.values()] + [mark.high for mark in marks.values()]
    )
    frame = _Frame(longest, len(rows), left=52, bottom=64)
    body = [frame.axes(x_title, "", rows=list(rows))]
    height = 0.5 * (frame.y(0) - frame.y(1))
    for index, (label, segments) in enumerate(rows.items()):
        middle = frame.y(len(rows) - index - 0.5)
        start = 0.0
        for _, style, length in segments:
            x = frame.x(start)
            width = max(0.0, frame.x(start + length) - x)
            body.append(
                f'<rect class="{style}" x="{x:.1f}" y="{middle - height / 2:.1f}" width="{width:.1f}" '
                f'height="{height:.1f}"/>'
            )
            start += length
        if label in marks:
            low, value, high = (frame.x(number) for number in (marks[label].low, marks[label].value, marks[label].high))
            top, bottom = middle - height * 0.75, middle + height * 0.75
            body.append(
                f'<path class="whole" d="M{value:.1f} {top:.1f}V{bottom:.1f}M{low:.1f} {middle:.1f}H{high:.1f}"/>'
            )
    keys = dict.fromkeys((name, style) for segments in rows.values() for name, style, _ in segments)
    body.append(_legend(keys, "whole, in one piece" if marks else ""))
    described = "; ".join(
        f"{label}: " + ", ".join(f"{name} {length:.3g}" for name, _, length in segments)
        for label, segments in rows.items()
    )
    return _svg(body, f"{x_title}. {described}")


def dots(rows: Mapping[str, tuple[str, Sequence[float], Interval | None]], *, x_title: str) -> str:
    """Label -> (style class, values >= 0, their mean): a point for each value, and the mean with its interval."""
    longest = max([0.0, *(max([*values, mean.high]) for _, values, mean in rows.values() if mean is not None)])
    frame = _Frame(longest, len(rows), left=60)
    body = [frame.axes(x_title, "", rows=list(rows))]
    for index, (style, values, mean) in enumerate(rows.values()):
        middle = frame.y(len(rows) - index - 0.5)
        body += [f'<circle class="{style}" cx="{frame.x(each):.1f}" cy="{middle:.1f}" r="4"/>' for each in values]
        if mean is not None:
            low, value, high = (frame.x(max(0.0, number)) for number in (mean.low, mean.value, mean.high))
            bar = f"M{value:.1f} {middle - 9:.1f}V{middle + 9:.1f}M{low:.1f} {middle:.1f}H{high:.1f}"
            body.append(f'<path class="whole" d="{bar}"/>')
    described = "; ".join(f"{label}: {mean}" for label, (_, _, mean) in rows.items())
    return _svg(body, f"{x_title}. {described}")


def histogram(values: npt.NDArray[np.float64], mark: float, *, style: str, x_title: str, mark_name: str) -> str:
    """How many of the values (N,) >= 0 lie where, in bins of one width from 0 on; a line stands at `mark`."""
    reach = float(values.max()) or 1.0
    counts, edges = np.histogram(values, bins=_BINS, range=(0.0, reach))
    frame = _Frame(reach, float(counts.max()))
    body = [frame.axes(x_title, "images")]
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        x, top, width = frame.x(float(low)), frame.y(float(count)), frame.x(float(high)) - frame.x(float(low)) - 1
        size = f'width="{width:.1f}" height="{frame.y(0) - top:.1f}"'
        body.append(f'<rect class="{style}" x="{x:.1f}" y="{top:.1f}" {size}/>' if count else "")
    x, on_left = frame.x(mark), frame.x(mark) > WIDTH * 0.7
    body.append(f'<path class="whole" d="M{x:.1f} {frame.y(0):.1f}V{_TOP + 8}"/>')
    anchor, shift = ("end", -6) if on_left else ("start", 6)
    body.append(_text(x + shift, _TOP + 18, f"{mark_name} {mark:.3g}", anchor=anchor, style="label"))
    described = (
        f"{counted(len(values), 'image')}, from {values.min():.3g} to {values.max():.3g}; {mark_name} {mark:.3g}"
    )
    return _svg(body, f"{x_title}. {described}")


class _Frame:
    """Where numbers lie in the picture; both axes begin at 0 unless told, and end at 1 if all numbers are 0."""

    def __init__(
        self, x_max: float, y_max: float, *, left: int = _LEFT, bottom: int = _BOTTOM, x_start: float = 0.0
    ) -> None:
        self._left, self._bottom, self._x_start = left, bottom, x_start
        self.x_end, self.y_end = x_start + (x_max - x_start or 1.0) * 1.08, (y_max or 1.0) * 1.08

    def x(self, value: float) -> float:
        return self._left + (value - self._x_start) / (self.x_end - self._x_start) * (WIDTH - self._left - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - self._bottom - value / self.y_end * (HEIGHT - self._bottom - _TOP)

    def axes(
        self, x_title: str, y_title: str, *, names: Sequence[str] | None = None, rows: Sequence[str] | None = None
    ) -> str:
        """Grid lines, ticks and titles; `names` and `rows` stand for the numbers of an axis that has none."""
        base, end = self.y(0), WIDTH - _RIGHT
        parts = []
        if rows is None:
            for tick in _ticks(self.y_end):
                parts.append(f'<path class="grid" d="M{self._left} {self.y(tick):.1f}H{end}"/>')
                parts.append(_text(self._left - 6, self.y(tick) + 4, f"{tick:g}", anchor="end"))
        else:
            self.y_end = len(rows)
            for index, name in enumerate(rows):
                parts.append(
                    _text(self._left - 6, self.y(len(rows) - index - 0.5) + 4, name, anchor="end", style="label")
                )
        if names is None:
            for tick in _ticks(self.x_end, self._x_start):
                if rows is not None:
                    parts.append(f'<path class="grid" d="M{self.x(tick):.1f} {base:.1f}V{_TOP}"/>')
                parts.append(_text(self.x(tick), base + 16, f"{tick:g}", anchor="middle"))
        else:
            self.x_end = max(len(names), _ROOM_FOR_LABELS * (len(names) - 0.65))
            for index, name in enumerate(names):
                parts.append(_text(self.x(index + 0.35), base + 16, name, anchor="middle"))
        parts.append(f'<path class="axis" d="M{self._left} {base:.1f}H{end}"/>')
        parts.append(_text(end, base + 32, x_title, anchor="end", style="title"))
        parts.append(_text(4, 11, y_title, style="title"))
        return "".join(parts)


def _ticks(end: float, start: float = 0.0) -> Iterable[float]:
    """Return multiples of 1, 2 or 5 times a power of ten, about five of them."""
    rough = (end - start) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(step * index, 10) for index in range(math.ceil(start / step), int(end / step) + 1)]


def _apart(labels: Sequence[tuple[float, float, str]], gap: float = 14) -> list[tuple[float, float, str]]:
    """Move labels (y, x, text) down until none covers another."""
    placed: list[tuple[float, float, str]] = []
    for y, x, text in sorted(labels):
        placed.append((max(y, placed[-1][0] + gap) if placed else y, x, text))
    over = max(0.0, placed[-1][0] - (HEIGHT - _BOTTOM)) if placed else 0.0
    return [(y - over, x, text) for y, x, text in placed]


def _free(
    placed: list[tuple[float, float, float]], x: float, y: float, label: str, *, on_left: bool, gap: float = 14
) -> float:
    """Return the height nearest to y where a label covers none of those `placed`, (start, end, y), and place it."""
    width = _LETTER * len(label)
    start, end = (x - width, x) if on_left else (x, x + width)
    beside = [taken for left, right, taken in placed if left < end and start < right]
    heights = (y + gap * step / 2 for step in sorted(range(-2 * _BINS, 2 * _BINS), key=abs))
    inside = (each for each in heights if _TOP + 8 <= each <= HEIGHT - _BOTTOM + 4)
    place = next((each for each in inside if all(abs(each - taken) >= gap for taken in beside)), y)
    placed.append((start, end, place))
    return place


def _error_bar(frame: _Frame, x: float, point: Point) -> str:
    low, high = frame.y(max(0.0, point.y.low)), frame.y(point.y.high)
    ends = f"M{x - 4:.1f} {low:.1f}H{x + 4:.1f}M{x - 4:.1f} {high:.1f}H{x + 4:.1f}"
    return f'<path class="error {point.style}" d="M{x:.1f} {low:.1f}V{high:.1f}{ends}"/>'


def _legend(keys: Iterable[tuple[str, str]], mark: str) -> str:
    parts, x, y = [], 8.0, HEIGHT - 10
    for name, style in keys:
        parts.append(f'<rect class="{style}" x="{x:.0f}" y="{y - 9}" width="10" height="10"/>')
        parts.append(_text(x + 14, y, name))
        x += 26 + 6.2 * len(name)
    if mark:
        parts.append(f'<path class="whole" d="M{x + 5:.0f} {y - 11}V{y + 3}"/>')
        parts.append(_text(x + 12, y, mark))
    return "".join(parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">{escape(text)}</text>'


def _svg(body: Iterable[str], described: str) -> str:
    inside = "".join(body)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(described)}">{inside}</svg>'
