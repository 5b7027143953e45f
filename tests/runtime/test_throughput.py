"""Images/s with two batches under way: against a GPU whose clock is known, and what the command says of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import RunLstn
from fake_machine import MakeMachine
from tiny import MakeTiny, Tiny

from lstn.errors import UsageError
from lstn.formats.plan_file import Flavour
from lstn.machine.gpu import Device
from lstn.runtime.bench.throughput import AT_ONCE, Throughput, measure_throughput
from lstn.runtime.bench.timed_engines import BenchSetup


def setup(**changes: object) -> BenchSetup:
    fields = {"batches": (8,), "seconds": 0.02, "seed": 0, "device": Device.CPU, "threads": 1, "spin": False}
    return BenchSetup(**fields | changes)


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize(("in_ms", "computing_ms", "out_ms"), [(3.0, 10.0, 1.0), (10.0, 6.0, 2.0), (1.0, 5.0, 6.0)])
def test_a_plan_is_as_fast_as_its_slowest_stage(
    make_machine: MakeMachine, flavour: Flavour, in_ms: float, computing_ms: float, out_ms: float
) -> None:
    """By the GPU's own clock, to which the host adds nothing here."""
    machine = make_machine(flavour=flavour)
    machine.gpu.copy_ms |= {"in": in_ms, "out": out_ms}
    machine.trt._row_ms = computing_ms / 8
    plan, plans = machine.plan, [machine.plan, machine.plan]
    found = measure_throughput(plans, setup(), tell=lambda text: None, clock=lambda: machine.gpu.now_ms / 1000)
    assert [(each.path, each.batch, each.ratio is None) for each in found] == [(plan, 8, True), (plan, 8, False)]
    slowest = max(in_ms, computing_ms, out_ms)
    assert found[0].images_per_s(50) == pytest.approx(8000 / slowest)
    assert found[1].ratio is not None
    assert found[1].ratio.value == pytest.approx(1)
    machine.check_all_given_back()


def test_two_batches_are_under_way_and_no_more(make_machine: MakeMachine) -> None:
    machine, most = make_machine(), 0
    submitted = type(machine.gpu).record

    def record(gpu: object, event: object, handle: int) -> None:
        nonlocal most
        submitted(gpu, event, handle)
        most = max(most, sum(bool(stream.pending) for stream in machine.gpu.streams.values()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(machine.gpu), "record", record)
        measure_throughput([machine.plan], setup(), tell=lambda text: None, clock=lambda: machine.gpu.now_ms / 1000)
    assert most == AT_ONCE


def test_percentiles_are_of_images_a_second() -> None:
    found = Throughput(Path("m.onnx"), 4, np.linspace(1, 101, 101), None)
    assert [found.images_per_s(percentile) for percentile in (50, 10, 1)] == pytest.approx(
        [4000 / 51, 4000 / 91, 4000 / 100]
    )


def test_the_command_compares_and_keeps_every_sample(run_lstn: RunLstn, make_tiny: MakeTiny, tmp_path: Path) -> None:
    first, second = make_tiny("first.onnx").path, make_tiny("second.onnx", seed=1).path
    file = tmp_path / "throughput.json"
    options = ("--throughput", "--batch", "1,8", "--threads", 1, "--seconds", "0.1", "--json", file)
    ran = run_lstn("bench", first, second, *options)
    assert ran.code == 0
    assert "images/s p50" in ran.out
    assert "timing 2 at batch 8, 2 under way" in ran.err
    report = json.loads(file.read_text())
    assert report["setup"]["at_once"] == 2
    assert [(Path(each["path"]).name, each["batch"]) for each in report["throughput"]] == [
        (name, batch) for batch in (1, 8) for name in ("first.onnx", "second.onnx")
    ]
    for each in report["throughput"]:
        assert each["images_per_s"]["p50"] == pytest.approx(1000 * each["batch"] / np.median(each["samples_ms"]))
        assert len(each["samples_ms"]) >= 5
        assert (each["ratio"] is None) == each["path"].endswith("first.onnx")


@pytest.mark.parametrize("option", [("--profile",), ("--scenario", "offline"), ("--against", "before.json")])
def test_what_it_cannot_be_combined_with_is_refused(run_lstn: RunLstn, tiny: Tiny, option: tuple[str, ...]) -> None:
    ran = run_lstn("bench", tiny.path, "--throughput", *option)
    assert (ran.code, "--throughput: not with --against, --profile or --scenario" in ran.err) == (2, True)


def test_a_batch_that_is_too_large_is_refused(make_machine: MakeMachine) -> None:
    machine = make_machine()
    with pytest.raises(UsageError, match="takes batches of 8 at most"):
        measure_throughput([machine.plan], setup(batches=(9,)), tell=lambda text: None)
