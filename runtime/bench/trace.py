"""Profiles as a trace for chrome://tracing and Perfetto (Trace Event Format, JSON object form).

A process for each engine and batch size, in it a row for whole calls and one for each part, all from time 0.
"""

from collections.abc import Iterator, Sequence

from lstn.runtime.bench.layer_times import PARTS, Breakdown

SHOWN_CALLS = 10
"""Of each engine: enough to see what changes from call to call."""

_CALLS = 0


def chrome_trace(breakdowns: Sequence[Breakdown]) -> dict[str, object]:
    """Return the first calls of each profile as JSON values; times are microseconds."""
    events = [
        event
        for pid, breakdown in enumerate(breakdowns, 1)
        for event in (*_rows(breakdown, pid), *_spans(breakdown, pid))
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _rows(breakdown: Breakdown, pid: int) -> Iterator[dict[str, object]]:
    """Metadata events: what processes and rows are called, and their order."""
    process = f"{breakdown.path}, batch {breakdown.batch}, {breakdown.via}"
    about: list[tuple[str, int, dict[str, object]]] = [
        ("process_name", _CALLS, {"name": process}),
        ("process_sort_index", _CALLS, {"sort_index": pid}),
    ]
    names = {_CALLS: "calls", **{_row(row.part): row.part for row in breakdown.parts if row.layers}}
    for tid, name in names.items():
        about.append(("thread_name", tid, {"name": name}))
        about.append(("thread_sort_index", tid, {"sort_index": tid}))
    for name, tid, arguments in about:
        yield {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": arguments}


def _spans(breakdown: Breakdown, pid: int) -> Iterator[dict[str, object]]:
    """Complete events: calls, and the layers of each."""
    for number, (call, places) in enumerate(zip(breakdown.calls[:SHOWN_CALLS], breakdown.places, strict=False), 1):
        whole = (call.start_ms, call.start_ms + call.ms)
        yield {"name": f"call {number}", "cat": "call", "pid": pid, "tid": _CALLS, **_duration(*whole)}
        for span, place in zip(call.spans, places, strict=True):
            lasts = (call.start_ms + span.start_ms, call.start_ms + (span.start_ms + span.ms))
            about = {"layer": place.layer, "operator": place.operator}
            names = {"name": span.layer.name, "cat": place.part, "pid": pid, "tid": _row(place.part)}
            yield {**names, **_duration(*lasts), "args": about}


def _duration(start_ms: float, end_ms: float) -> dict[str, object]:
    """Both ends are rounded, to nanoseconds, and not the difference: events that touch must not overlap."""
    start_us, end_us = round(1000 * start_ms, 3), round(1000 * end_ms, 3)
    return {"ph": "X", "ts": start_us, "dur": round(end_us - start_us, 3)}


def _row(part: str) -> int:
    return 1 + PARTS.index(part)
