"""The load of benchmarks/soak.py for a moment, what it finds, and the trends of what it measures."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import MakeTiny

from benchmarks.soak import last_words, reload
from benchmarks.support.serve_process import Server, started
from benchmarks.support.soaking import crowd as crowded
from benchmarks.support.soaking.crowd import Crowd
from benchmarks.support.soaking.gauges import ProcessGauges
from benchmarks.support.soaking.right_clients import ANSWERED, PLAIN, RIGHT, RightClient
from benchmarks.support.soaking.rude_clients import RUDE
from benchmarks.support.soaking.trends import Trend, trend_of
from benchmarks.support.soaking.two_versions import TwoVersions


def test_a_server_is_loaded_and_reloaded_without_a_fault_and_faults_are_found(
    make_tiny: MakeTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = make_tiny("0.onnx", seed=0).path, make_tiny("1.onnx", seed=1).path
    versions = TwoVersions(sources, tmp_path / "model.onnx")
    with started(versions.path, "--max-batch", 8, "--max-wait-ms", 0) as server:
        ports = server.ports[:2]
        crowd = Crowd(versions, ports, seed=0)
        gauges = ProcessGauges(server.process.pid)
        monkeypatch.setattr(crowded, "SLOW", {})
        monkeypatch.setattr(crowded, "RATES", dict.fromkeys(crowded.RATES, 20.0))
        crowd.start()
        _until(lambda: len(crowd.told) == len(RIGHT) + len(RUDE))
        monkeypatch.setattr("benchmarks.soak.DAMAGED_EVERY", 2)
        reloads = crowd.told["reloads"].copy()
        for _ in range(3):
            reload(server, versions, crowd, reloads)
        assert reloads == {"another version": 2, "damaged": 1}
        assert crowd.stop(20) == 0
        assert crowd.wrong == []
        assert {each for kind in RIGHT for each in crowd.told[kind]} == {ANSWERED}
        assert 10 < gauges.read()["rss_mb"] < 1000
        assert crowd.latency()["plain"] == crowd.told[PLAIN][ANSWERED]
        _find_a_version_that_nobody_announced(server, versions, sources, ports)
        assert last_words(*server.end(signal.SIGINT)) == []


def _find_a_version_that_nobody_announced(
    server: Server, versions: TwoVersions, sources: tuple[Path, Path], ports: tuple[int, int]
) -> None:
    told, client = server.told.read_text(), RightClient(PLAIN, versions, ports, 0)
    assert client.ask() == ANSWERED
    versions.path.write_bytes(sources[1].read_bytes())  # the first one answers now, after two reloads
    server.process.send_signal(signal.SIGHUP)
    _until(lambda: "reloaded: m" in server.told.read_text()[len(told) :])
    assert client.ask() == "the answer is of the version that was replaced"
    other = TwoVersions(sources, versions.path.with_name("other.onnx"))
    other.pixels = np.ascontiguousarray(other.pixels[::-1])
    assert RightClient(PLAIN, other, ports, 0).ask() == "the answer is not that of these images"


def test_what_a_server_says_beside_its_reloads_is_found() -> None:
    assert last_words(0, "reloaded: m\nwarning: m is not reloaded: cut off\nreloaded: nothing has changed\n") == []
    found = last_words(1, "reloaded: m\nTraceback (most recent call last):\n")
    assert found == ["the server ended with 1", "the server said 'Traceback (most recent call last):'"]


def test_a_trend_is_that_of_least_squares() -> None:
    hours = np.linspace(0, 2, 120)
    values = 100 + 3 * hours + np.random.default_rng(0).normal(size=120)
    trend = trend_of(3600 * hours, values)
    assert trend.per_hour == pytest.approx(np.polyfit(hours, values, 1)[0])
    assert trend.interval is not None
    assert trend.interval[0] < 3 < trend.interval[1]
    assert (trend.verdict(5.0), trend.verdict(1.0)) == ("flat", "grows")
    assert trend_of(3600 * hours[:3], values[:3]).verdict(5.0) == "too short to say"


@pytest.mark.parametrize(("shared", "covered"), [(0.0, 0.9), (0.7, 0.85)])
def test_the_interval_of_a_trend_holds_the_truth_even_if_neighbours_are_alike(shared: float, covered: float) -> None:
    dice, seconds, inside = np.random.default_rng(1), np.arange(110) * 60.0, 0
    for _ in range(100):
        noise = dice.normal(size=110)
        for at in range(1, 110):
            noise[at] += shared * noise[at - 1]
        low, high = trend_of(seconds, noise).interval or (0.0, 0.0)
        inside += low < 0 < high
    assert covered <= inside / 100 <= 1


def test_a_trend_that_may_be_either_is_not_called_flat() -> None:
    assert Trend(2.0, (-1.0, 6.0)).verdict(5.0) == "too noisy to say"
    assert Trend(6.0, (5.5, 6.5)).verdict(5.0) == "grows"
    assert Trend(2.0, (1.0, 4.0)).verdict(5.0) == "flat"


def _until(met: Callable[[], bool], within_s: float = 20.0) -> None:
    stop = time.monotonic() + within_s
    while not met() and time.monotonic() < stop:
        time.sleep(0.05)
    assert met()
