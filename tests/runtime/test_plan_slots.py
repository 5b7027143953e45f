"""Slots of a plan, on a GPU that counts time: overlap, the order of calls, and memory that nobody touches meanwhile."""

from collections import deque

import numpy as np
import pytest
from fake_gpu import COPY_MS
from fake_machine import Machine, MakeMachine
from fake_tensorrt import ROW_MS

from lstn.contract import Loc
from lstn.errors import DeviceError
from lstn.formats.plan_file import Flavour
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.slots import SLOTS, Slot, Slots

BATCHES = 200


def pipeline(machine: Machine, slots: Slots, *, at_once: int, batches: int = BATCHES, rows: int = 8) -> float:
    """Keep `at_once` batches under way, check every answer, and return the milliseconds that it took by the clock."""
    under_way: deque[tuple[Slot, np.ndarray]] = deque()
    began_ms = machine.gpu.now_ms
    for number in range(batches):
        if len(under_way) == at_once:
            slot, pixels = under_way.popleft()
            machine.check(slot.result(), pixels)
        slot, pixels = slots.acquire(), machine.images(rows, number)
        slot.pixels[:rows] = pixels
        slot.submit(rows)
        under_way.append((slot, pixels))
    for slot, pixels in under_way:
        machine.check(slot.result(), pixels)
    return machine.gpu.now_ms - began_ms


def warm(slots: Slots, rows: int = 8) -> None:
    for _ in range(2 * slots.count):
        with slots.acquire() as slot:
            slot.submit(rows)
            slot.result()


STAGES = [
    pytest.param(3.0, 10.0, 1.0, id="bound-by-computing"),
    pytest.param(10.0, 6.0, 2.0, id="bound-by-copying-in"),
    pytest.param(1.0, 5.0, 6.0, id="bound-by-copying-out"),
]


@pytest.mark.parametrize("pycuda", [False, True])
@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize(("in_ms", "computing_ms", "out_ms"), STAGES)
def test_two_batches_under_way_take_as_long_as_the_slowest_stage(
    make_machine: MakeMachine, flavour: Flavour, pycuda: bool, in_ms: float, computing_ms: float, out_ms: float
) -> None:
    machine = make_machine(flavour=flavour, pycuda=pycuda)
    machine.gpu.copy_ms |= {"in": in_ms, "out": out_ms}
    machine.trt._row_ms = computing_ms / 8
    ideal_ms = BATCHES * max(in_ms, computing_ms, out_ms)
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        warm(slots)
        taken_ms = {at_once: pipeline(machine, slots, at_once=at_once) for at_once in (1, 2, 3)}
    assert taken_ms[1] == pytest.approx(BATCHES * (in_ms + computing_ms + out_ms))
    assert ideal_ms / taken_ms[2] >= 0.95
    assert ideal_ms / taken_ms[3] >= 0.95
    machine.check_all_given_back()


def test_a_batch_is_one_launch(make_machine: MakeMachine) -> None:
    """Copies and network together, and then the event that the answer waits for, asleep."""
    machine = make_machine()
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        warm(slots)
        slot = slots.acquire()
        slot.pixels[:8] = machine.images(8)
        del machine.gpu.calls[:]
        slot.submit(8)
        assert machine.gpu.calls == ["cudaGetDevice", "cudaGraphLaunch", "cudaEventRecord"]
        del machine.gpu.calls[:]
        machine.check(slot.result(), machine.images(8))
        assert machine.gpu.calls == ["cudaGetDevice", "cudaEventSynchronize"]


def test_without_graphs_a_batch_is_two_copies_and_the_network(make_machine: MakeMachine) -> None:
    machine = make_machine(flavour=Flavour.TRT_RTX)
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        warm(slots)
        slot = slots.acquire()
        del machine.gpu.calls[:]
        slot.submit(8)
        copy, run = "cudaMemcpyAsync", "execute_async_v3"
        assert machine.gpu.calls == ["cudaGetDevice", copy, run, copy, "cudaEventRecord"]
        slot.release()


def test_the_fake_sees_a_slot_that_is_written_into_while_it_computes(make_machine: MakeMachine) -> None:
    """So that the other tests would."""
    machine = make_machine()
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        slot = slots.acquire()
        rows = slot.pixels
        rows[:] = 1
        slot.submit(8)
        rows[3, 2, 1, 0] = 2
        with pytest.raises(AssertionError, match="the host wrote into a batch under way"):
            slot.result()


@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("loc", [Loc.LSTN, Loc.NONE])
def test_an_integrated_gpu_copies_nothing(make_machine: MakeMachine, flavour: Flavour, loc: Loc) -> None:
    machine = make_machine(flavour=flavour, loc=loc, profiles=((2, 4, 8),))
    machine.gpu.integrated = True
    with open_engine(machine.plan) as engine:
        for seed, count in enumerate((3, 8, 1, 3, 19, 8, 3)):
            pixels = machine.images(count, seed)
            machine.check(engine.infer(pixels), pixels)
        assert engine.device_ms(machine.images(8)) == 8 * ROW_MS
        with engine.slots(8) as slots:
            pipeline(machine, slots, at_once=2, batches=20)
        assert "cudaMemcpyAsync" not in machine.gpu.calls
        assert machine.gpu.calls.count("cudaMalloc") == 1 + SLOTS  # of activations
    machine.check_all_given_back()


@pytest.mark.parametrize("pycuda", [False, True])
def test_slots_and_infer_work_side_by_side(make_machine: MakeMachine, pycuda: bool) -> None:
    machine = make_machine(pycuda=pycuda)
    with open_engine(machine.plan) as engine, engine.slots(5) as slots:
        for seed in range(6):
            slot, pixels = slots.acquire(), machine.images(5, seed)
            slot.pixels[:5] = pixels
            slot.submit(5)
            machine.check(engine.infer(machine.images(7, seed)), machine.images(7, seed))
            machine.check(slot.result(), pixels)
    machine.check_all_given_back()


def test_memory_is_taken_for_the_rows_that_are_asked_for(make_machine: MakeMachine) -> None:
    machine = make_machine(profiles=((1, 64, 256),))
    with open_engine(machine.plan) as engine:
        assert machine.gpu.memory == {}
        with engine.slots(3):
            assert max(block.nbytes for block in machine.gpu.pinned.values()) == 4 * 8 * 8 * 3  # as 4 are computed
    machine.check_all_given_back()


def test_where_memory_is_short_there_are_fewer_slots(
    make_machine: MakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = make_machine()
    allocations: list[str] = []
    machine.gpu.fails = lambda index, name: name == "cudaMalloc" and (allocations.append(name) or len(allocations) > 4)
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        assert slots.count == 1
        warm(slots)
        assert pipeline(machine, slots, at_once=1, batches=10) == pytest.approx(10 * (2 * COPY_MS + 8 * ROW_MS))
    told = capsys.readouterr().err
    assert told.startswith("warning: 1 batch at a time, not 3: cudaMalloc failed: out of memory")
    machine.check_all_given_back()


def test_a_failure_under_way_is_told_once_and_the_slot_goes_on(make_machine: MakeMachine) -> None:
    machine = make_machine()
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        warm(slots)
        failed, other = slots.acquire(), slots.acquire()
        for slot in (failed, other):
            slot.pixels[:8] = machine.images(8)
            slot.submit(8)
        machine.gpu.fails = lambda index, name: name == "cudaEventSynchronize"
        with pytest.raises(DeviceError, match="cudaEventSynchronize failed"):
            failed.result()
        machine.gpu.fails = lambda index, name: False
        machine.check(other.result(), machine.images(8))
        pipeline(machine, slots, at_once=3, batches=9)
    machine.check_all_given_back()


def test_what_is_cancelled_is_over_before_its_memory_goes(make_machine: MakeMachine) -> None:
    machine = make_machine()
    with open_engine(machine.plan) as engine, engine.slots(8) as slots:
        for _ in range(2):
            slots.acquire().submit(8)
        assert slots.acquire().pixels.shape == (8, 8, 8, 3)
    machine.check_all_given_back()


def test_an_engine_that_is_closed_opens_no_slots(make_machine: MakeMachine) -> None:
    machine = make_machine()
    with open_engine(machine.plan) as engine:
        pass
    with pytest.raises(DeviceError, match="closed"):
        engine.slots(1)
