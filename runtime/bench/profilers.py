"""The engines' own profilers: ONNX Runtime's, which writes a file, and TensorRT's, which calls back.

What they tell differs. ONNX Runtime gives beginning and end of every node in whole microseconds, and writing that down
takes time of its own; on a GPU it would time launches only. TensorRT gives the duration of every layer on the GPU.
OpenVINO's keeps averages over all calls of a request, in whole microseconds, and so can't be used (tried with 2026.4).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lstn.errors import DeviceError
from lstn.files import scratch_folder
from lstn.formats.onnx_file import Node, read_model
from lstn.formats.onnx_session import OnnxSession
from lstn.runtime.bench.layer_places import Layer
from lstn.runtime.bench.layer_times import Breakdown, Call, Span, summarize_calls
from lstn.runtime.bench.timed_engines import BenchSetup
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.onnxruntime_engine import OnnxEngine, check_onnx
from lstn.runtime.engines.plans.plan_engine import open_plan
from lstn.runtime.engines.plans.preflight import check_plan, load_library

WARM_UP_CALLS = 5
"""Left out of a profile."""

MIN_CALLS, MAX_CALLS = 10, 100
"""More say nothing new, and ONNX Runtime's file grows by hundreds of kilobytes with each."""

_KERNEL = "_kernel_time"

_Timed: TypeAlias = tuple[float, float]
"""Beginning and duration of a call, both in ms."""

_Spans: TypeAlias = tuple[Span, ...]

_Told: TypeAlias = tuple[str, list[Call], Sequence[Node]]
"""What ran the engine, its calls, and the nodes of model.onnx if their names have to be looked up there."""


def profile_engine(path: Path, batch: int, setup: BenchSetup) -> Breakdown:
    """Run one engine alone under its profiler for about `setup.seconds`, on the pixels that `bench` takes.

    Raises:
        DeviceError: the profiler doesn't tell what it should.
        LstnError: the engine can't be opened, or fails.
    """
    via, calls, nodes = PROFILERS[path.suffix.lower()](path, batch, setup)
    return summarize_calls(path, batch, via, calls, nodes)


def _profile_onnx(path: Path, batch: int, setup: BenchSetup) -> _Told:
    contract = check_onnx(path)
    try:
        with scratch_folder() as folder:
            profile = folder / "nodes"
            session = OnnxSession(path, threads=setup.threads, spin=setup.spin, profile=profile)
            timed, _ = _run(OnnxEngine(path, contract, session), batch, setup, lambda: None)
            spans = spans_of_session(json.loads(session.end_profiling().read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as error:  # cut off where space ran out
        raise DeviceError(
            f"{path}: ONNX Runtime's profile can't be read: {error!s:.200}",
            hint="free some space for temporary files, or name a place for them in TMPDIR",
        ) from error
    if len(spans) != WARM_UP_CALLS + len(timed):
        raise DeviceError(f"{path}: ONNX Runtime's profile has {len(spans)} calls, not {WARM_UP_CALLS + len(timed)}")
    return "ONNX Runtime", _calls(timed, spans[WARM_UP_CALLS:]), read_model(path)[1].nodes


def spans_of_session(events: Sequence[Mapping[str, Any]]) -> list[_Spans]:
    """Return the spans of every run of a session that ONNX Runtime wrote events of, warm-up included.

    events: with `ts` and `dur` in microseconds; those of a run's nodes stand before the run's own, `model_run`
    """
    runs: list[_Spans] = []
    nodes: list[tuple[Layer, int, int]] = []
    for event in events:
        name = str(event["name"])
        if event["cat"] == "Node" and name.endswith(_KERNEL):
            name = name[: -len(_KERNEL)]
            nodes.append((Layer(name, str(event["args"]["op_name"]), name), int(event["ts"]), int(event["dur"])))
        elif name == "model_run":
            start = int(event["ts"])
            nodes.sort(key=lambda node: node[1])
            runs.append(tuple(Span(layer, (ts - start) / 1000, dur / 1000) for layer, ts, dur in nodes))
            nodes = []
    return runs


def _profile_plan(path: Path, batch: int, setup: BenchSetup) -> _Told:
    sidecar = check_plan(path)
    trt = load_library(path, sidecar)
    with open_plan(path) as engine:
        clock = LayerClock(trt, engine.context_to_profile(batch))
        timed, told = _run(engine, batch, setup, clock.take)
    if not all(told):
        raise DeviceError(f"{path}: TensorRT reported no time for a layer in {told.count(())} calls of {len(told)}")
    return sidecar.flavour.product, _calls(timed, told), ()


class LayerClock:
    """Hears from TensorRT what each layer took."""

    def __init__(self, trt: Any, context: Any) -> None:
        """Let a context report at the end of each `execute_async_v3`, which then waits for the GPU: without a graph.

        trt: `tensorrt` or `tensorrt_rtx`
        """
        heard: list[tuple[str, float]] = []

        class Profiler(trt.IProfiler):  # type: ignore[misc]  # of a package that may be missing
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                heard.append((layer_name, ms))

        self._heard = heard
        self._origins = _origins(trt, context.engine)
        self._profiler = context.profiler = Profiler()
        context.enqueue_emits_profile = True

    def take(self) -> _Spans:
        """Return what was heard since the last time."""
        heard = [(Layer(name, "", self._origins.get(name, name)), ms) for name, ms in self._heard]
        self._heard.clear()
        return _end_to_end(heard)


def _origins(trt: Any, engine: Any) -> dict[str, str]:
    """Ask for the nodes behind names such as `__myl_ConvRelu_myl0_3`: only a plan with detailed verbosity has them."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    layers = json.loads(text).get("Layers", [])
    return {
        str(layer["Name"]): f"{layer['Name']} {layer['Metadata']}"
        for layer in layers
        if isinstance(layer, dict) and "Name" in layer and "Metadata" in layer
    }


def _end_to_end(layers: Sequence[tuple[Layer, float]]) -> _Spans:
    """Lay what has only a duration one after the other."""
    starts = accumulate((ms for _, ms in layers), initial=0.0)
    return tuple(Span(layer, start, ms) for (layer, ms), start in zip(layers, starts, strict=False))


def _run(engine: Engine, batch: int, setup: BenchSetup, take: Callable[[], Any]) -> tuple[list[_Timed], list[Any]]:
    """Call `infer` again and again; return beginning and duration of each call, and what `take` gave after it."""
    random = np.random.default_rng(setup.seed)
    pixels = random.integers(0, 256, (batch, *engine.contract.image_hw, 3), dtype=np.uint8)
    for _ in range(WARM_UP_CALLS):
        engine.infer(pixels)
        take()
    timed: list[_Timed] = []
    taken = []
    first = time.perf_counter_ns()
    end = first + int(setup.seconds * 1e9)
    while len(timed) < MIN_CALLS or (time.perf_counter_ns() < end and len(timed) < MAX_CALLS):
        started = time.perf_counter_ns()
        engine.infer(pixels)
        timed.append(((started - first) / 1e6, (time.perf_counter_ns() - started) / 1e6))
        taken.append(take())
    return timed, taken


def _calls(timed: Sequence[_Timed], spans: Sequence[_Spans]) -> list[Call]:
    return [Call(start_ms, ms, own) for (start_ms, ms), own in zip(timed, spans, strict=True)]


PROFILERS: dict[str, Callable[[Path, int, BenchSetup], _Told]] = {
    ".onnx": _profile_onnx,
    ".plan": _profile_plan,
}
"""Suffix of a file -> what profiles its engine."""
