"""The trace, against what a viewer needs to draw it."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from profiled import SETUP, call, conv_net, summarize

from lstn.runtime.bench.layer_times import Breakdown
from lstn.runtime.bench.profilers import profile_engine
from lstn.runtime.bench.trace import SHOWN_CALLS, chrome_trace


class TestTrace:
    """Against the Trace Event Format: what chrome://tracing and Perfetto need to draw it."""

    def events(self, *found: Breakdown) -> list[dict[str, Any]]:
        trace = json.loads(json.dumps(chrome_trace(found), allow_nan=False))
        assert trace["displayTimeUnit"] in ("ms", "ns")
        assert isinstance(trace["traceEvents"], list)
        return list(trace["traceEvents"])

    def test_every_event_is_whole(self, tmp_path: Path) -> None:
        conv_net(tmp_path / "m.onnx")
        for event in self.events(profile_engine(tmp_path / "m.onnx", 1, SETUP)):
            assert {type(event[key]) for key in ("pid", "tid")} == {int}
            assert type(event["name"]) is str
            assert event["ph"] in "MX"
            if event["ph"] == "M":
                assert event["name"] in ("process_name", "process_sort_index", "thread_name", "thread_sort_index")
                (value,) = event["args"].values()
                assert type(value) is (str if event["name"].endswith("_name") else int)
            else:
                assert type(event["cat"]) is str
                assert all(math.isfinite(event[key]) and event[key] >= 0 for key in ("ts", "dur"))

    def test_a_process_for_each_engine_and_a_row_for_each_part(self) -> None:
        first = summarize(call(0, 10, localizer__a=1, grid=2, backbone__b=3))
        second = summarize(call(0, 10, backbone__b=3))
        events = self.events(first, second)
        processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
        assert processes == {1: "a.onnx, batch 1, an engine", 2: "a.onnx, batch 1, an engine"}
        rows = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
        assert [name for (pid, _), name in sorted(rows.items()) if pid == 1] == [
            "calls",
            "localizer",
            "grid",
            "backbone",
        ]
        assert [name for (pid, _), name in sorted(rows.items()) if pid == 2] == ["calls", "backbone"]
        drawn = [(e["name"], rows[e["pid"], e["tid"]], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
        assert drawn == [
            ("call 1", "calls", 0, 10_000),
            ("localizer.a/Conv", "localizer", 0, 1000),
            ("grid/Conv", "grid", 1000, 2000),
            ("backbone.b/Conv", "backbone", 3000, 3000),
            ("call 1", "calls", 0, 10_000),
            ("backbone.b/Conv", "backbone", 0, 3000),
        ]

    @given(
        st.lists(st.lists(st.floats(0, 3), min_size=1, max_size=6), min_size=1, max_size=2 * SHOWN_CALLS + 3),
        st.floats(0, 1e4),
    )
    def test_events_of_a_row_follow_each_other_within_their_call(self, times: list[list[float]], start: float) -> None:
        calls = []
        for spans in times:
            calls.append(call(start, sum(spans) + 0.5, **{f"backbone__l{i}": ms for i, ms in enumerate(spans)}))
            start += calls[-1].ms + 0.25
        events = [e for e in self.events(summarize(*calls)) if e["ph"] == "X"]
        whole = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["cat"] == "call"]
        layers = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["cat"] == "backbone"]
        assert len(whole) == min(SHOWN_CALLS, (len(calls) + 1) // 2)
        for row in (whole, layers):
            assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(row))
        for begin, end in layers:
            assert any(a - 1e-6 <= begin and end <= b + 1e-6 for a, b in whole)
