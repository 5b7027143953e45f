"""ONNX Runtime's profile: every node placed, the warm-up left out, and nothing left on disk."""

import json
import resource
import time
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
from profiled import SETUP, conv_net

from lstn.errors import DeviceError
from lstn.formats.onnx_file import read_model
from lstn.images import Pixels
from lstn.runtime.bench.layer_places import OTHER, LayerPlace
from lstn.runtime.bench.profilers import MIN_CALLS, WARM_UP_CALLS, profile_engine, spans_of_session


class TestOnnxRuntime:
    def test_every_node_is_placed_and_lies_within_its_call(self, tmp_path: Path) -> None:
        conv_net(tmp_path / "m.onnx")
        found = profile_engine(tmp_path / "m.onnx", 2, SETUP)
        assert (found.via, found.batch, found.ran) == ("ONNX Runtime", 2, MIN_CALLS)
        wanted = {"input", "backbone.conv1", "backbone.conv2", "backbone.pool", "backbone.fc"}
        added = {row.layer for row in found.layers if "between layers" in str(row.layer)}
        assert {row.layer for row in found.layers} - added == wanted
        assert added <= {"backbone, between layers", "input, between layers"}
        convolutions = {row.layer: row.operators for row in found.layers if "conv" in str(row.layer)}
        assert all("Conv" in operators[0] for operators in convolutions.values())
        for each in found.calls:
            assert each.spans[0].start_ms >= 0
            assert each.spans[-1].start_ms + each.spans[-1].ms <= each.ms
            assert all(a.start_ms + a.ms <= b.start_ms for a, b in pairwise(each.spans))
        assert all(a.start_ms + a.ms <= b.start_ms for a, b in pairwise(found.calls))
        assert 0 < found.explained < 1

    def test_a_model_without_names_is_other_and_says_so(self, tmp_path: Path) -> None:
        conv_net(tmp_path / "m.onnx", names=False)
        found = profile_engine(tmp_path / "m.onnx", 1, SETUP)
        assert {row.part for row in found.parts} == {OTHER}
        assert found.parts[0].ms == pytest.approx(
            np.median([sum(span.ms for span in each.spans) for each in found.calls])
        )

    def test_any_name_is_carried_through(self, tmp_path: Path) -> None:
        name = 'a "quoted\\\n\u202ename_kernel_time'
        conv_net(tmp_path / "m.onnx")
        model = onnx.load(tmp_path / "m.onnx")
        model.graph.node[-1].name = name
        onnx.save(model, tmp_path / "m.onnx")
        found = profile_engine(tmp_path / "m.onnx", 1, SETUP)
        assert found.calls[0].spans[-1].layer.name == name
        assert found.places[0][-1] == LayerPlace("backbone", "backbone, between layers", "MatMul")

    def test_a_full_disk_ends_in_one_line(self, tmp_path: Path) -> None:
        conv_net(tmp_path / "m.onnx")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            with pytest.raises(DeviceError) as caught:
                profile_engine(tmp_path / "m.onnx", 1, SETUP)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "ONNX Runtime's profile can't be read" in caught.value.message
        assert "\n" not in caught.value.message + caught.value.hint

    def test_nothing_is_left_on_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        conv_net(tmp_path / "m.onnx")
        profile_engine(tmp_path / "m.onnx", 1, SETUP)
        assert list(folder.iterdir()) == []

    def test_the_warm_up_is_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run i has one node, of i us; those after the first five calls dawdle, so that these are the faster half."""
        conv_net(tmp_path / "m.onnx")

        class Session:
            events: ClassVar[list[dict[str, object]]] = []

            def run(self, feeds: dict[str, Pixels], outputs: list[str]) -> list[np.ndarray]:
                count = len(self.events) // 2
                time.sleep(0.02 * (count >= WARM_UP_CALLS + MIN_CALLS // 2))
                about = {"ts": 100 * count, "dur": count, "args": {"op_name": "Conv"}}
                self.events.append({"cat": "Node", "name": "backbone.conv1/Conv_kernel_time", **about})
                self.events.append({"cat": "Session", "name": "model_run", **about})
                return [np.zeros((1, 2), np.float32)]

            def end_profiling(self) -> Path:
                (tmp_path / "nodes.json").write_text(json.dumps(self.events))
                return tmp_path / "nodes.json"

        monkeypatch.setattr("lstn.runtime.bench.profilers.OnnxSession", lambda *_, **__: Session())
        found = profile_engine(tmp_path / "m.onnx", 1, SETUP)
        times = [round(1000 * span.ms) for each in found.calls for span in each.spans]
        assert times == [WARM_UP_CALLS + index for index in range(MIN_CALLS // 2)]

    def test_events_are_told_apart_by_run(self) -> None:
        def node(name: str, ts: int, dur: int) -> dict[str, object]:
            return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"op_name": "Conv"}}

        events = [
            {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 900, "args": {}},
            node("b", 1030, 20),
            node("a", 1010, 5),
            {"cat": "Node", "name": "a_fence_before", "ts": 1005, "dur": 1, "args": {"op_name": "Conv"}},
            {"cat": "Session", "name": "SequentialExecutor::Execute", "ts": 1002, "dur": 60, "args": {}},
            {"cat": "Session", "name": "model_run", "ts": 1000, "dur": 70, "args": {}},
            node("a", 2010, 7),
            {"cat": "Session", "name": "model_run", "ts": 2000, "dur": 70, "args": {}},
        ]
        runs = spans_of_session(events)
        assert [[(span.layer.name, span.start_ms, span.ms) for span in run] for run in runs] == [
            [("a", 0.01, 0.005), ("b", 0.03, 0.02)],
            [("a", 0.01, 0.007)],
        ]

    def test_the_file_is_read_with_its_nodes(self, tmp_path: Path) -> None:
        conv_net(tmp_path / "m.onnx")
        wanted = onnx.load(tmp_path / "m.onnx").graph.node
        found = read_model(tmp_path / "m.onnx")[1].nodes
        assert [(n.name, n.operator, list(n.inputs), list(n.outputs)) for n in found] == [
            (n.name, n.op_type, list(n.input), list(n.output)) for n in wanted
        ]
