"""TensorRT's profiler: against a strict stand-in, the fakes and the genuine library."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorrt_rtx
from command import RunLstn
from fake_machine import MakeMachine
from fake_tensorrt import FakeContext, FakeEngine
from profiled import SETUP, SIDE

from lstn.contract import Contract, Loc
from lstn.errors import DeviceError
from lstn.formats.plan_file import Flavour
from lstn.images import Pixels
from lstn.runtime.bench.layer_places import OTHER, SEVERAL
from lstn.runtime.bench.profilers import MIN_CALLS, WARM_UP_CALLS, LayerClock, profile_engine
from lstn.runtime.engines.prediction import Prediction


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

        monkeypatch.setattr(
            "lstn.runtime.bench.profilers.check_plan", lambda path: SimpleNamespace(flavour=Flavour.TRT)
        )
        monkeypatch.setattr("lstn.runtime.bench.profilers.load_library", lambda path, sidecar: TRT)
        monkeypatch.setattr("lstn.runtime.bench.profilers.open_plan", open_plan)
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
        with pytest.raises(DeviceError, match="reported no time for a layer in 10 calls of 10"):
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
