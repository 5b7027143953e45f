import re
import sys

import numpy as np
import pytest
from command import RunLstn
from tiny import Tiny

from lstn.contract import Contract, Loc
from lstn.errors import DeviceError, LstnError, MissingExtra
from lstn.images import Pixels
from lstn.machine.gpu import Device
from lstn.machine.scenario import Scenario
from lstn.runtime.bench.loadgen import read_summary, run_load
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.prediction import Prediction
from lstn.testing import FakeEngine

CONTRACT = Contract(Loc.NONE, "cnn", (8, 8), ("ant", "bee", "cat", "dog"))


def counting(*, fails: bool = False) -> FakeEngine:
    """An engine of no class in particular, which notes its calls; one that fails does so after ten."""

    def answer(pixels: Pixels) -> Prediction:
        if fails and len(engine.calls) > 10:
            raise DeviceError("the GPU fell off the bus")
        return Prediction(np.zeros((len(pixels), 4), np.float32), None)

    engine = FakeEngine(CONTRACT, answer, max_batch=16)
    return engine


@pytest.mark.parametrize("scenario", Scenario)
def test_loadgen_runs_an_engine_and_gives_its_word(tiny: Tiny, scenario: Scenario) -> None:
    with open_engine(tiny.path, device=Device.CPU, threads=1) as engine:
        found = run_load(engine, scenario, seconds=0.2, batch=8, seed=0)
    assert found.figures["Scenario"].replace(" ", "") == scenario.value.title().replace("-", "")
    assert found.figures["Mode"] == "PerformanceOnly"
    assert float(found.figures["Mean latency (ns)"]) > 0
    assert found.valid or found.reasons  # an invalid run says why


@pytest.mark.parametrize(("scenario", "largest"), [("single-stream", 1), ("multi-stream", 8), ("offline", 4)])
def test_a_scenario_sends_its_kind_of_queries(scenario: str, largest: int) -> None:
    engine = counting()
    run_load(engine, Scenario(scenario), seconds=0.05, batch=4, seed=0)
    assert max(engine.calls) == largest


def test_an_engine_that_fails_ends_the_run_with_its_error() -> None:
    with pytest.raises(DeviceError, match="fell off the bus"):
        run_load(counting(fails=True), Scenario.OFFLINE, seconds=0.05, batch=4, seed=0)


def test_the_summary_is_read_with_the_reasons() -> None:
    text = (
        "SUT name : PySUT\nResult is : INVALID\n  Min queries satisfied : NO\nRecommendations:\n"
        " * The test exited early.\n * Only processed 49 queries.\nTest Parameters Used\nsamples_per_query : 1\n"
    )
    found = read_summary(Scenario.SERVER, text)
    assert not found.valid
    assert found.reasons == ("The test exited early.", "Only processed 49 queries.")
    assert found.figures == {"SUT name": "PySUT", "Min queries satisfied": "NO"}
    with pytest.raises(LstnError, match="without a result"):
        read_summary(Scenario.SERVER, "")


def test_without_loadgen_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(MissingExtra) as caught:
        run_load(counting(), Scenario.OFFLINE, seconds=0.05, batch=4, seed=0)
    assert "[loadgen]" in caught.value.hint


def test_the_command_prints_the_flag_and_why(run_lstn: RunLstn, tiny: Tiny) -> None:
    ran = run_lstn("bench", tiny.path, "--scenario", "server", "--seconds", "0.2")
    assert ran.code == 0, ran.err
    assert re.match(re.escape(str(tiny.path)) + r": (IN)?VALID by LoadGen, server\n", ran.out)
    assert re.search(r"\n  Min queries satisfied: (Yes|NO)\n", ran.out)
    assert run_lstn("bench", tiny.path, "--scenario", "server", "--json", "x.json").code == 2
