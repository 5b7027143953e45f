"""Calls added up: parts and layers, and what a report keeps of them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiled import call, summarize

from lstn.runtime.bench.layer_places import OTHER, Layer
from lstn.runtime.bench.layer_times import PARTS, Call, Span, report_breakdown, typical_ms


class TestSummary:
    def test_parts_and_layers_are_medians_of_the_faster_half(self) -> None:
        calls = [
            call(0, 10, localizer__a=1, backbone__b=3, backbone__c=5),
            call(10, 12, localizer__a=2, backbone__b=4, backbone__c=5),
            call(22, 11, localizer__a=1, backbone__b=4, backbone__c=4),
            call(33, 90, localizer__a=80, backbone__b=4, backbone__c=5),
            call(123, 95, localizer__a=1, backbone__b=84, backbone__c=5),
        ]
        found = summarize(*calls)
        assert found.ran == 5
        assert [each.ms for each in found.calls] == [10, 12, 11]
        assert found.call_ms == 11
        assert [(row.part, row.ms, row.layers) for row in found.parts] == [
            ("localizer", 1, 1),
            ("backbone", 8, 2),
            (OTHER, 0, 0),
        ]
        assert [(row.layer, row.ms) for row in found.layers] == [
            ("backbone.c", 5),
            ("backbone.b", 4),
            ("localizer.a", 1),
        ]
        assert found.layers[0].share == pytest.approx(5 / 11)
        assert found.explained == pytest.approx(np.median([9 / 10, 11 / 12, 9 / 11]))
        assert found.outside_ms == 1
        assert found.share_of("backbone") == pytest.approx(8 / 11)
        assert found.share_of("grid") == 0

    def test_a_layer_that_some_calls_lack_took_nothing_there(self) -> None:
        found = summarize(call(0, 5, grid=1), call(5, 5), call(10, 5), *[call(15, 9)] * 3)
        assert {row.part: row.ms for row in found.parts} == {"grid": 0, OTHER: 0}

    def test_the_operator_that_takes_most_comes_first(self) -> None:
        layers = [Layer("grid/Mul", "Mul", "grid/Mul"), Layer("grid/Add", "Add", "grid/Add")]
        spans = (Span(layers[0], 0, 1), Span(layers[1], 1, 3), Span(layers[0], 4, 1))
        (row,) = summarize(Call(0, 6, spans)).layers
        assert (row.operators, row.ms, row.layers) == (("Add", "Mul"), 5, 2)

    @given(
        st.lists(st.sampled_from(["input", "localizer.a", "grid", "backbone.b", "?"]), min_size=1, max_size=8),
        st.lists(st.floats(0.001, 10), min_size=8, max_size=8),
        st.integers(1, 7),
    )
    def test_when_calls_are_alike_all_adds_up(self, names: list[str], times: list[float], count: int) -> None:
        spans = tuple(
            Span(Layer(f"{name}/Conv", "", f"{name}/Conv"), 0, ms) for name, ms in zip(names, times, strict=False)
        )
        inside = sum(span.ms for span in spans)
        found = summarize(*[Call(0, inside + 1, spans)] * count)
        assert sum(row.ms for row in found.parts) + found.outside_ms == pytest.approx(found.call_ms)
        assert sum(row.share for row in found.layers) == pytest.approx(found.explained)
        assert [PARTS.index(row.part) for row in found.parts] == sorted({PARTS.index(row.part) for row in found.parts})
        assert found.parts[-1].part == OTHER

    @given(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=9))
    def test_a_typical_time_is_that_of_a_breakdown(self, samples: list[float]) -> None:
        calls = [Call(0, ms, ()) for ms in samples]
        assert typical_ms(np.array(samples)) == summarize(*calls).call_ms


def test_a_report_holds_rows_and_no_calls() -> None:
    found = report_breakdown(summarize(call(0, 10, grid=2), call(10, 11, grid=2)))
    json.dumps(found, allow_nan=False)
    assert (found["ran"], found["calls"], found["call_ms"], found["explained"]) == (2, 1, 10, 0.2)
    assert found["layers"] == [
        {"part": "grid", "layer": "grid", "operators": ("Conv",), "layers": 1, "ms": 2.0, "share": 0.2}
    ]
