"""MLPerf's own LoadGen on an engine, in this process: its load, its clock, and its word on whether the run is valid."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstn.errors import DeviceError, LstnError
from lstn.files import scratch_folder
from lstn.imports import require
from lstn.machine.scenario import Scenario
from lstn.runtime.engines.base import Engine

_SAMPLES = 64
"""Images in memory that LoadGen draws from."""

_SERVER_LOAD = 0.5
"""Share of the rate that single queries reach, at which the server scenario sends."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What LoadGen said.

    valid:   its flag
    reasons: its own words on what made the run invalid, and what to do
    figures: the lines of its summary, name -> value; latencies in ns
    """

    scenario: Scenario
    valid: bool
    reasons: tuple[str, ...]
    figures: dict[str, str]


def run_load(engine: Engine, scenario: Scenario, *, seconds: float, batch: int, seed: int) -> LoadResult:
    """Let LoadGen send random images for at least `seconds`.

    batch: images a call in the offline scenario, whose one query holds thousands; MLPerf's rules for a valid run ask
           for more time and queries than a short run has, and the result says so

    Raises:
        MissingExtra: LoadGen isn't installed.
        DeviceError: the engine fails.
    """
    loadgen: Any = require("mlperf_loadgen", extra="loadgen", package="mlcommons-loadgen")
    pixels = np.random.default_rng(seed).integers(0, 256, (_SAMPLES, *engine.contract.image_hw, 3), dtype=np.uint8)
    at_once = min(batch, engine.max_batch) if scenario is Scenario.OFFLINE else engine.max_batch
    system = _System(loadgen, engine, pixels, batch=at_once)
    rate = system.rate()
    with scratch_folder(prefix="lstn-loadgen-") as folder:
        logs, output = loadgen.LogSettings(), loadgen.LogOutputSettings()
        output.outdir, output.copy_summary_to_stdout = str(folder), False
        logs.log_output, logs.enable_trace = output, False
        library = loadgen.ConstructQSL(_SAMPLES, _SAMPLES, lambda _: None, lambda _: None)
        under_test = loadgen.ConstructSUT(system.issue, system.flush)
        with system:
            loadgen.StartTestWithLogSettings(under_test, library, _settings(loadgen, scenario, seconds, rate), logs)
        loadgen.DestroySUT(under_test)
        loadgen.DestroyQSL(library)
        if system.error is not None:
            raise system.error
        return read_summary(scenario, (folder / "mlperf_log_summary.txt").read_text(errors="replace"))


def read_summary(scenario: Scenario, text: str) -> LoadResult:
    """Read LoadGen's summary: `name : value` lines, and lines that begin with `*` for what is wrong.

    Raises:
        LstnError: it says neither valid nor invalid.
    """
    figures: dict[str, str] = {}
    for line in text.partition("Test Parameters Used")[0].splitlines():
        name, colon, value = line.partition(" : ")
        if colon:
            figures.setdefault(name.strip(), value.strip())
    flag = figures.pop("Result is", "")
    if flag not in ("VALID", "INVALID"):
        raise LstnError("LoadGen ended without a result")
    reasons = tuple(line.strip(" *") for line in text.splitlines() if line.startswith(" *"))
    return LoadResult(scenario, flag == "VALID", reasons, figures)


def _settings(loadgen: Any, scenario: Scenario, seconds: float, rate: float) -> Any:
    """rate: images a second that single queries reach."""
    settings = loadgen.TestSettings()
    names = {Scenario.SINGLE_STREAM: "SingleStream", Scenario.MULTI_STREAM: "MultiStream", Scenario.SERVER: "Server"}
    settings.scenario = getattr(loadgen.TestScenario, names.get(scenario, "Offline"))
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1000 * seconds)
    # Without an end a run goes on until MLPerf's least number of queries, 270,336 for a server.
    settings.max_duration_ms = int(1000 * seconds) + 1
    settings.single_stream_expected_latency_ns = int(1e9 / rate)
    settings.multi_stream_expected_latency_ns = int(8e9 / rate)
    settings.offline_expected_qps = rate
    settings.server_target_qps = _SERVER_LOAD * rate
    settings.server_target_latency_ns = int(max(1e7, 1e10 / rate))
    return settings


class _System:
    """The system under test: one thread owns the engine and answers in the order of the queries."""

    def __init__(self, loadgen: Any, engine: Engine, pixels: Any, *, batch: int) -> None:
        self.error: LstnError | None = None
        self._loadgen, self._engine, self._pixels, self._batch = loadgen, engine, pixels, batch
        self._queue: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="lstn-loadgen", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def rate(self) -> float:
        """Return images a second, one after the other."""
        self._engine.infer(self._pixels[:1])
        started = time.perf_counter()
        for index in range(5):
            self._engine.infer(self._pixels[index : index + 1])
        return 5 / (time.perf_counter() - started)

    def issue(self, samples: Sequence[Any]) -> None:
        """Take a query from LoadGen, which mustn't wait."""
        self._queue.put([(sample.id, sample.index) for sample in samples])

    def flush(self) -> None:
        """Nothing is held back."""

    def _work(self) -> None:
        while (query := self._queue.get()) is not None:
            for start in range(0, len(query), self._batch):
                part = query[start : start + self._batch]
                try:
                    if self.error is None:
                        self._engine.infer(self._pixels[[index for _, index in part]])
                except LstnError as error:
                    self.error = error  # the rest is answered unseen, or LoadGen would wait for ever
                except Exception as error:
                    self.error = DeviceError(f"the engine failed under load: {error}")
                responses = [self._loadgen.QuerySampleResponse(identity, 0, 0) for identity, _ in part]
                self._loadgen.QuerySamplesComplete(responses)
