"""Where the time goes: names told apart, calls added up, both profilers, and the trace."""

import json
import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
import tensorrt_rtx
from command import RunLstn
from fake_machine import MakeMachine
from fake_tensorrt import FakeContext, FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lstn.contract import METADATA_KEY, Contract, Loc
from lstn.errors import DeviceError
from lstn.gpu import Device
from lstn.images import Pixels
from lstn.onnxfile import Node, read_model
from lstn.plan import Flavour
from lstn.runtime.bench import Setup
from lstn.runtime.engine import Prediction
from lstn.runtime.layers import PARTS, Breakdown, Call, Span, report_breakdown, summarize_calls, typical_ms
from lstn.runtime.places import OTHER, SEVERAL, Layer, Place, place_layers
from lstn.runtime.profilers import MIN_CALLS, WARM_UP_CALLS, LayerClock, profile_engine, spans_of_session
from lstn.runtime.trace import SHOWN_CALLS, chrome_trace

SIDE = 16
SETUP = Setup((1,), 0, 0, Device.CPU, 1, False)


def unnamed(name: str, operator: str = "") -> Layer:
    return Layer(name, operator, name)


def parts_of(*names: str) -> list[str]:
    return [place.part for place in place_layers([unnamed(name) for name in names], ())]


@pytest.mark.parametrize(
    ("name", "part", "layer", "operator"),
    [
        ("sampler/GridSample", "sampler", "sampler", "GridSample"),
        (
            "backbone.layer1.0.conv1/Conv + backbone.layer1.0.relu/Relu",
            "backbone",
            "backbone.layer1.0.conv1",
            "Conv + Relu",
        ),
        ("backbone.l.relu/Relu_2 + backbone.l.conv2/Conv_13", "backbone", "backbone.l.conv2", "Relu + Conv"),
        ("PWN(PWN(backbone.f.1/Sigmoid), backbone.f.1/Mul)", "backbone", "backbone.f.1", "Sigmoid + Mul"),
        ("{ForeignNode[backbone.a/Conv...backbone.z/Gemm]}", "backbone", "backbone.a to backbone.z", "Conv + Gemm"),
        ("{ForeignNode[backbone.a/Conv...backbone.z/Relu]}", "backbone", "backbone.a to backbone.z", "Conv + Relu"),
        ("Reformatting CopyNode for Input Tensor 0 to backbone.c/Conv", "backbone", "backbone.c", "Reformat"),
        ("localizer.head.3/Gemm + grid/Mul", SEVERAL, "localizer.head.3/Gemm + grid/Mul", "Gemm + Mul"),
        (
            "{ForeignNode[localizer.a/Conv...backbone.z/Gemm]}",
            SEVERAL,
            "localizer.a/Conv + backbone.z/Gemm",
            "Conv + Gemm",
        ),
        (
            "sampler/GridSample_abcd_acdb_backbone.c/Conv",
            SEVERAL,
            "sampler/GridSample_abcd_acdb + backbone.c/Conv",
            None,
        ),
        ("theta_DequantizeLinear/duplicated", "localizer", "localizer", ""),
        ("logits", "backbone", "backbone", ""),
        ("node_Conv_506", OTHER, "node_Conv_506", ""),
        ("mybackbone.a/Conv", OTHER, "mybackbone.a/Conv", ""),
        ("net.backbone.a/Conv", OTHER, "net.backbone.a/Conv", ""),
        ("some/backbone.a/Conv", OTHER, "some/backbone.a/Conv", ""),
    ],
)
def test_a_layer_is_placed_by_every_name_in_it(name: str, part: str, layer: str, operator: str | None) -> None:
    (place,) = place_layers([unnamed(name)], ())
    assert (place.part, place.layer) == (part, layer)
    assert operator is None or place.operator == operator


def test_a_layer_without_a_name_is_where_both_its_neighbours_are() -> None:
    found = parts_of("input/Cast", "x", "localizer.a/Conv", "y", "z", "localizer.b/Conv", "w", "sampler/GridSample")
    assert found == ["input", OTHER, "localizer", "localizer", "localizer", "localizer", OTHER, "sampler"]


def test_before_the_first_name_lies_the_input_and_after_the_last_the_backbone() -> None:
    assert parts_of("x", "input/Cast", "backbone.a/Conv", "y") == ["input", "input", "backbone", "backbone"]
    assert parts_of("x", "grid/Mul", "y") == [OTHER, "grid", OTHER]
    assert parts_of("x", "y") == [OTHER, OTHER]


def test_beside_a_layer_of_several_parts_nothing_is_told() -> None:
    both = "localizer.a/Conv + grid/Mul"
    assert parts_of(both, "x", both) == [SEVERAL, OTHER, SEVERAL]


def test_what_an_engine_adds_is_called_by_what_it_does() -> None:
    layers = [
        Layer(name, "Reorder", name) for name in ("localizer.a/Conv", "Reorder_1", "localizer.b/Conv", "Reorder_2")
    ]
    layers.append(unnamed("sampler/GridSample"))
    places = place_layers(layers, ())
    assert places[1] == Place("localizer", "localizer, between layers", "Reorder")
    assert places[3] == Place(OTHER, "Reorder_2", "Reorder")


@given(st.lists(st.sampled_from(["", "input", "localizer", "grid", "sampler", "backbone"]), max_size=12))
def test_every_layer_gets_a_place_and_a_named_one_its_own(parts: list[str]) -> None:
    places = place_layers([unnamed(f"{part}.a/Conv" if part else "x") for part in parts], ())
    assert len(places) == len(parts)
    for index, (part, place) in enumerate(zip(parts, places, strict=True)):
        before = [each for each in ["input", *parts[:index]] if each][-1]
        after = next(each for each in [*parts[index:], "backbone"] if each)
        assert place.part == (part or (before if before == after else OTHER))


class TestFusedNodes:
    """ONNX Runtime calls what it fused by any of the nodes; model.onnx tells which one takes the time."""

    NODES = (
        Node("backbone.a/Conv", "Conv", ("x",), ("a",)),
        Node("backbone.relu/Relu", "Relu", ("a",), ("ra",)),
        Node("backbone.b/Conv", "Conv", ("ra",), ("b",)),
        Node("backbone.side/Conv", "Conv", ("x",), ("side",)),
        Node("backbone/Add", "Add", ("side", "b"), ("sum",)),
        Node("backbone.relu/Relu_2", "Relu", ("sum",), ("rs",)),
        Node("backbone.norm/BatchNormalization", "BatchNormalization", ("rs",), ("n",)),
        Node("backbone.fc/Gemm", "Gemm", ("n",), ("logits",)),
    )

    def layers(self, *runs: tuple[str, str]) -> list[str]:
        return [place.layer for place in place_layers([Layer(name, op, name) for name, op in runs], self.NODES)]

    def test_a_convolution_is_found_behind_its_activation(self) -> None:
        assert self.layers(("backbone.relu/Relu_nchwc", "Conv")) == ["backbone.a"]

    def test_not_one_that_runs_by_itself(self) -> None:
        runs = (("backbone.side/Conv_nchwc", "Conv"), ("backbone.relu/Relu_2_nchwc", "Conv"))
        assert self.layers(*runs) == ["backbone.side", "backbone.b"]

    def test_nor_one_before_a_layer_that_does(self) -> None:
        """DenseNet's lone BatchNormalization becomes a convolution of its own."""
        runs = (("backbone.relu/Relu_2_nchwc", "Conv"), ("backbone.norm/BatchNormalization_bn_nchwc", "Conv"))
        assert self.layers(*runs)[1] == "backbone.norm"

    @pytest.mark.parametrize(
        ("name", "operator"), [("fused backbone.fc/Gemm", "FusedGemm"), ("backbone.fc/Gemm_token_9", "QGemm")]
    )
    def test_a_variant_of_the_nodes_own_operator_is_the_node(self, name: str, operator: str) -> None:
        assert self.layers((name, operator)) == ["backbone.fc"]

    def test_a_node_that_the_model_lacks_keeps_its_name(self) -> None:
        assert self.layers(("backbone.new/Conv", "Conv")) == ["backbone.new"]


def call(start_ms: float, ms: float, **layers: float) -> Call:
    """Make a call of layers `part__layer=ms`, end to end."""
    spans, now = [], 0.0
    for name, taken in layers.items():
        spans.append(
            Span(Layer(f"{name.replace('__', '.')}/Conv", "Conv", f"{name.replace('__', '.')}/Conv"), now, taken)
        )
        now += taken
    return Call(start_ms, ms, tuple(spans))


def summarize(*calls: Call) -> Breakdown:
    return summarize_calls(Path("a.onnx"), 1, "an engine", calls, ())


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


def conv_net(path: Path, *, names: bool = True) -> Contract:
    """Write two convolutions, each with a ReLU, and a MatMul; every node is named as lstn names them."""
    random = np.random.default_rng(0)
    contract = Contract(Loc.NONE, "cnn", (SIDE, SIDE), ("a", "b"))
    runs = [
        ("Cast", "input/Cast", (), {"to": TensorProto.FLOAT}),
        ("Transpose", "input/Transpose", (), {"perm": [0, 3, 1, 2]}),
        ("Conv", "backbone.conv1/Conv", ("w1",), {"pads": [1] * 4}),
        ("Relu", "backbone.relu/Relu", (), {}),
        ("Conv", "backbone.conv2/Conv", ("w2",), {"pads": [1] * 4}),
        ("Relu", "backbone.relu/Relu_2", (), {}),
        ("ReduceMean", "backbone.pool/ReduceMean", ("axes",), {"keepdims": 0}),
        ("MatMul", "backbone.fc/MatMul", ("w3",), {}),
    ]
    tensors = ["pixels", *(name for _, name, _, _ in runs[:-1]), "logits"]
    nodes = [
        helper.make_node(operator, [tensors[index], *weights], [tensors[index + 1]], name, **attributes)
        for index, (operator, name, weights, attributes) in enumerate(runs)
    ]
    if not names:
        for node in nodes:
            node.ClearField("name")
            node.input[0], node.output[0] = (
                name.replace("/", "_").replace(".", "_") for name in (node.input[0], node.output[0])
            )
    arrays = {"w1": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "w3": (16, 2)}
    weights = [
        numpy_helper.from_array(random.normal(size=size).astype(np.float32), name) for name, size in arrays.items()
    ]
    weights.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "g", [pixels], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    path.write_bytes(model.SerializeToString())
    return contract


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
        assert found.places[0][-1] == Place("backbone", "backbone, between layers", "MatMul")

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

            def run(self, outputs: list[str], feeds: dict[str, Pixels]) -> list[np.ndarray]:
                count = len(self.events) // 2
                time.sleep(0.02 * (count >= WARM_UP_CALLS + MIN_CALLS // 2))
                about = {"ts": 100 * count, "dur": count, "args": {"op_name": "Conv"}}
                self.events.append({"cat": "Node", "name": "backbone.conv1/Conv_kernel_time", **about})
                self.events.append({"cat": "Session", "name": "model_run", **about})
                return [np.zeros((1, 2), np.float32)]

            def end_profiling(self) -> str:
                (tmp_path / "nodes.json").write_text(json.dumps(self.events))
                return str(tmp_path / "nodes.json")

        monkeypatch.setattr("lstn.runtime.profilers.new_session", lambda *_, **__: Session())
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


class StrictProfiler:
    """trt.IProfiler: unusable unless its own __init__ ran."""

    ready = False

    def __init__(self) -> None:
        self.ready = True


class StrictContext:
    """IExecutionContext: reports to a profiler that is one, after each run, if it was told to."""

    def __init__(self, layers: list[tuple[str, float]], information: dict[str, object]) -> None:
        self.layers = layers
        self.engine = SimpleNamespace(
            create_engine_inspector=lambda: SimpleNamespace(get_engine_information=self._information)
        )
        self.enqueue_emits_profile = False
        self.runs = 0
        self._told = information
        self._profiler: Any = None

    def _information(self, form: str) -> str:
        assert form == "json"
        return json.dumps(self._told)

    @property
    def profiler(self) -> Any:
        return self._profiler

    @profiler.setter
    def profiler(self, profiler: Any) -> None:
        assert isinstance(profiler, StrictProfiler)
        assert profiler.ready, "TensorRT crashes on a profiler whose base was not initialised"
        self._profiler = profiler

    def run(self) -> None:
        self.runs += 1
        time.sleep(0.02 * (self.runs > WARM_UP_CALLS + MIN_CALLS // 2))  # so the first that count are the faster half
        if self._profiler is not None and self.enqueue_emits_profile:
            for name, ms in self.layers:
                self._profiler.report_layer_time(name, ms * (1000 if self.runs <= WARM_UP_CALLS else 1))


TRT = SimpleNamespace(IProfiler=StrictProfiler, LayerInformationFormat=SimpleNamespace(JSON="json"))


class TestTensorrt:
    LAYERS = (
        ("input/Cast + input/Transpose", 0.002),
        ("localizer.features.0/Conv + localizer.features.2/Relu", 0.004),
        ("__myl_MulAdd_myl0_3", 0.003),
        ("Reformatting CopyNode for Input Tensor 0 to sampler/GridSample", 0.001),
        ("localizer.head.3/Gemm + grid/Mul", 0.005),
        ("backbone.conv1/Conv", 0.0101),
    )

    def opened(self, monkeypatch: pytest.MonkeyPatch, context: StrictContext) -> list[int]:
        """Let a plan be opened whose runner runs `context`; return for which batches it was asked."""
        contract, asked = Contract(Loc.NONE, "cnn", (SIDE, SIDE), ("a", "b")), []

        class Plan:
            max_batch = 8

            def __init__(self) -> None:
                self.contract = contract

            def context_to_profile(self, count: int) -> StrictContext:
                assert context.runs == 0
                asked.append(count)
                return context

            def infer(self, pixels: Pixels) -> Prediction:
                context.run()
                return Prediction(np.zeros((len(pixels), 2), np.float32), None)

        @contextmanager
        def open_plan(path: Path) -> Iterator[Plan]:
            yield Plan()

        monkeypatch.setattr("lstn.runtime.profilers.check_plan", lambda path: SimpleNamespace(flavour=Flavour.TRT))
        monkeypatch.setattr("lstn.runtime.profilers.load_library", lambda path, sidecar: TRT)
        monkeypatch.setattr("lstn.runtime.profilers.open_plan", open_plan)
        return asked

    def test_its_layers_are_placed_and_the_warm_up_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        context = StrictContext(list(self.LAYERS), {"Layers": [name for name, _ in self.LAYERS]})
        asked = self.opened(monkeypatch, context)
        found = profile_engine(Path("m.plan"), 4, SETUP)
        assert asked == [4]
        assert found.via == Flavour.TRT.product
        assert context.runs == WARM_UP_CALLS + found.ran
        assert {row.part: row.ms for row in found.parts} == {
            "input": pytest.approx(0.002),
            "localizer": pytest.approx(0.004),
            "sampler": pytest.approx(0.001),
            "backbone": pytest.approx(0.0101),
            SEVERAL: pytest.approx(0.005),
            OTHER: pytest.approx(0.003),
        }
        assert [row.layer for row in found.layers if row.part == SEVERAL] == ["localizer.head.3/Gemm + grid/Mul"]
        assert [row.layer for row in found.layers if row.part == OTHER] == ["__myl_MulAdd_myl0_3"]
        assert [span.layer.name for span in found.calls[0].spans] == [name for name, _ in self.LAYERS]
        assert found.calls[0].spans[-1].start_ms == pytest.approx(0.015)

    def test_a_plan_that_keeps_the_nodes_tells_what_a_fused_layer_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nodes = "[ONNX Layer: grid/Mul]\x1e[ONNX Layer: grid/Add_2]"
        information = {"Layers": [{"Name": "__myl_MulAdd_myl0_3", "Metadata": nodes}, {"Name": "backbone.conv1/Conv"}]}
        self.opened(monkeypatch, StrictContext(list(self.LAYERS), information))
        found = profile_engine(Path("m.plan"), 1, SETUP)
        grid = next(row for row in found.layers if row.part == "grid")
        assert (grid.layer, grid.operators, grid.ms) == ("grid", ("Mul + Add",), pytest.approx(0.003))
        assert found.share_of(OTHER) == 0

    def test_a_library_that_tells_nothing_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened(monkeypatch, StrictContext([], {"Layers": []}))
        with pytest.raises(DeviceError, match="told no layer's time in 10 calls of 10"):
            profile_engine(Path("m.plan"), 1, SETUP)

    @pytest.mark.parametrize("flavour", list(Flavour))
    def test_the_runner_reports_every_call_and_captures_none(
        self,
        make_machine: MakeMachine,
        run_lstn: RunLstn,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        flavour: Flavour,
    ) -> None:
        machine = make_machine(flavour=flavour)
        machine.trt.IProfiler, machine.trt.LayerInformationFormat = StrictProfiler, TRT.LayerInformationFormat
        inspector = SimpleNamespace(get_engine_information=lambda form: '{"Layers": []}')
        monkeypatch.setattr(FakeEngine, "create_engine_inspector", lambda engine: inspector, raising=False)
        monkeypatch.setattr(FakeContext, "enqueue_emits_profile", False, raising=False)
        monkeypatch.setattr(FakeContext, "profiler", None, raising=False)
        execute, sizes = FakeContext.execute_async_v3, []

        def execute_and_report(context: FakeContext, stream_handle: int) -> bool:
            ran = execute(context, stream_handle)
            if context.profiler is not None:
                assert machine.gpu.streams[stream_handle].recording is None, "a graph leaves the profiler out"
                assert context.enqueue_emits_profile
                sizes.append(context._shape[0])
                for name, ms in self.LAYERS:
                    context.profiler.report_layer_time(name, ms)
            return ran

        monkeypatch.setattr(FakeContext, "execute_async_v3", execute_and_report)
        ran = run_lstn("bench", machine.plan, "--batch", "3", "--profile", "--seconds", "0.1", "--json", tmp_path / "j")
        assert ran.code == 0
        (found,) = json.loads((tmp_path / "j").read_text())["profiles"]
        assert sizes == [3] * (WARM_UP_CALLS + found["ran"])
        assert found["via"] == flavour.product
        assert f"under {flavour.product}'s profiler" in ran.out
        assert "several: localizer.head.3/Gemm + grid/Mul" in ran.out
        machine.check_all_given_back()

    def test_the_clock_starts_anew_with_each_call(self) -> None:
        context = StrictContext([("a", 1.0), ("b", 2.0)], {"Layers": []})
        clock = LayerClock(TRT, context)
        assert clock.take() == ()
        context.runs = WARM_UP_CALLS
        for _ in range(2):
            context.run()
            spans = clock.take()
            assert [(span.layer.name, span.start_ms, span.ms) for span in spans] == [("a", 0, 1), ("b", 1, 2)]

    def test_the_genuine_library_takes_the_profiler_and_has_what_is_called(self) -> None:
        inspector = SimpleNamespace(get_engine_information=lambda form: f'{{"form": "{form}"}}')
        context = SimpleNamespace(engine=SimpleNamespace(create_engine_inspector=lambda: inspector))
        clock = LayerClock(tensorrt_rtx, context)
        assert isinstance(context.profiler, tensorrt_rtx.IProfiler)
        context.profiler.report_layer_time("backbone.conv1/Conv", 0.5)
        assert [span.ms for span in clock.take()] == [0.5]
        for holder, name in (
            (tensorrt_rtx.IExecutionContext, "profiler"),
            (tensorrt_rtx.IExecutionContext, "enqueue_emits_profile"),
            (tensorrt_rtx.IExecutionContext, "engine"),
            (tensorrt_rtx.ICudaEngine, "create_engine_inspector"),
            (tensorrt_rtx.EngineInspector, "get_engine_information"),
        ):
            assert hasattr(holder, name)


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


def test_a_report_holds_rows_and_no_calls() -> None:
    found = report_breakdown(summarize(call(0, 10, grid=2), call(10, 11, grid=2)))
    json.dumps(found, allow_nan=False)
    assert (found["ran"], found["calls"], found["call_ms"], found["explained"]) == (2, 1, 10, 0.2)
    assert found["layers"] == [
        {"part": "grid", "layer": "grid", "operators": ("Conv",), "layers": 1, "ms": 2.0, "share": 0.2}
    ]
