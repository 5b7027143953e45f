"""Execution of plans: the calls and their order, against fakes that compute with NumPy and take nothing for granted."""

import gc
import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import numpy as np
import pytest
from fake_gpu import COPY_MS
from fake_machine import MakeMachine, rewrite
from fake_tensorrt import ROW_MS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstn.contract import Loc
from lstn.errors import ArtifactError, DeviceError, UsageError
from lstn.formats.plan_file import Flavour
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.plans.plan_loading import Profile, choose, log_of
from lstn.runtime.engines.slots import SLOTS
from lstn.runtime.serving.models.generation import warm_up


@pytest.mark.parametrize("loc", [Loc.LSTN, Loc.NONE])
@pytest.mark.parametrize("pycuda", [False, True])
@pytest.mark.parametrize("flavour", list(Flavour))
@pytest.mark.parametrize("profiles", [((1, 4, 8),), ((5, 5, 8),), ((1, 1, 1), (4, 8, 8))])
def test_every_batch_in_any_order(
    make_machine: MakeMachine,
    loc: Loc,
    pycuda: bool,
    flavour: Flavour,
    profiles: tuple[tuple[int, int, int], ...],
) -> None:
    machine = make_machine(loc=loc, pycuda=pycuda, flavour=flavour, profiles=profiles)
    allocations = ("cudaMalloc", "cudaHostAlloc", "mem_alloc", "pagelocked_empty")
    with open_engine(machine.plan) as engine:
        assert engine.max_batch == 8
        machine.check(engine.infer(machine.images(1)), machine.images(1))
        taken = [machine.gpu.calls.count(name) for name in allocations]
        assert sum(taken) == 5  # images and answers on both sides, and one for activations
        kept = []
        for seed, count in enumerate((8, 1, 3, 8, 3, 1, 8, 3, 21, 1, 21, 16)):
            pixels = machine.images(count, seed)
            kept.append((engine.infer(pixels), pixels))
        assert [machine.gpu.calls.count(name) for name in allocations] == taken
        for prediction, pixels in kept:  # none of them was overwritten by a later one
            machine.check(prediction, pixels)
    machine.check_all_given_back()


@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=12), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_profiles_and_any_sizes(make_machine: MakeMachine, counts: list[int], data: st.DataObject) -> None:
    sizes = st.lists(st.integers(1, 10), min_size=3, max_size=3).map(lambda three: tuple(sorted(three)))
    profiles = data.draw(st.lists(sizes, min_size=1, max_size=3))
    machine = make_machine(profiles=profiles)
    with open_engine(machine.plan) as engine:
        for seed, count in enumerate(counts):
            pixels = machine.images(count, seed)
            machine.check(engine.infer(pixels), pixels)
    machine.check_all_given_back()


def test_a_graph_for_each_size_that_comes_again(make_machine: MakeMachine) -> None:
    machine = make_machine()
    calls = machine.gpu.calls
    with open_engine(machine.plan) as engine:
        for round_ in range(4):
            for count in (2, 5):
                engine.infer(machine.images(count))
            assert calls.count("cudaStreamBeginCapture") == (0 if round_ == 0 else 2)
        assert calls.count("cudaGraphLaunch") == 6
        # Once for each size that is new, and twice for each that is captured: to settle it, and to record it.
        assert calls.count("execute_async_v3") == 2 + 4
        assert calls.count("create_execution_context") == 1 + 2
    machine.check_all_given_back()


def test_what_lies_between_two_sizes_is_computed_as_the_larger(make_machine: MakeMachine) -> None:
    machine = make_machine(profiles=((1, 6, 11),))
    with open_engine(machine.plan) as engine:
        assert engine.prepared == (1, 2, 4, 6, 8, 11)
        for seed, count in enumerate([*range(1, 12)] * 3):
            pixels = machine.images(count, seed)
            machine.check(engine.infer(pixels), pixels)
        own = sorted(context._shapes for context in machine.trt._contexts if len(set(context._shapes)) == 1)
    assert own == [[1], [2], [4], [6], [8], [11]]
    assert machine.gpu.calls.count("create_execution_context") == 1 + 6
    machine.check_all_given_back()


@pytest.mark.parametrize("pycuda", [False, True])
def test_rtx_captures_itself_in_contexts_that_keep_their_shape(make_machine: MakeMachine, pycuda: bool) -> None:
    machine = make_machine(flavour=Flavour.TRT_RTX, pycuda=pycuda)
    with open_engine(machine.plan) as engine:
        for count in (2, 5, 3, 2, 5, 2, 5):
            engine.infer(machine.images(count))
        shapes = sorted(context._shapes for context in machine.trt._contexts if context._captures)
        (common,) = (context._shapes for context in machine.trt._contexts if not context._captures)
    assert shapes == [[2], [8]]  # of 2, and of 5
    assert common == [2, 5, 3]
    assert "cudaStreamBeginCapture" not in machine.gpu.calls


def test_without_graphs_no_context_is_made_for_them(make_machine: MakeMachine) -> None:
    machine = make_machine(pycuda=True)
    with open_engine(machine.plan) as engine:
        for _ in range(3):
            engine.infer(machine.images(2))
    assert machine.gpu.calls.count("create_execution_context") == 1


def test_the_gpus_time_leaves_copies_out(make_machine: MakeMachine) -> None:
    machine = make_machine(profiles=((1, 4, 8),))
    with open_engine(machine.plan) as engine:
        for _ in range(3):
            assert engine.device_ms(machine.images(8)) == 8 * ROW_MS
        assert engine.device_ms(machine.images(19)) == (8 + 8 + 4) * ROW_MS  # of the last three it makes four
        assert machine.gpu.now_ms > COPY_MS


@pytest.mark.parametrize("flavour", list(Flavour))
def test_the_gpus_time_is_of_launches_back_to_back(make_machine: MakeMachine, flavour: Flavour) -> None:
    """Twenty or more between two marks, and nothing else: no copy, and no wait of the GPU for the host."""
    machine = make_machine(flavour=flavour)
    launch = "cudaGraphLaunch" if flavour is Flavour.TRT else "execute_async_v3"
    with open_engine(machine.plan) as engine:
        for _ in range(2):
            engine.infer(machine.images(3))
        del machine.gpu.calls[:]
        assert engine.device_ms(machine.images(3)) == pytest.approx(4 * ROW_MS)
    before, *between, after = [place for place, name in enumerate(machine.gpu.calls) if name == "cudaEventRecord"]
    assert between == []
    timed = [name for name in machine.gpu.calls[before + 1 : after] if name not in ("cudaGetDevice", "set_input_shape")]
    assert len(timed) >= 20
    assert set(timed) == {launch}
    assert launch in machine.gpu.calls[:before]  # what comes first is not timed


def test_nothing_is_collected_during_a_capture(make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python's collector frees in this thread, such as PyTorch's memory, would spoil it."""
    machine, seen = make_machine(), []
    recorded = type(machine.api)._cudaStreamEndCapture

    def spy(api: object, stream: int) -> int:
        seen.append(gc.isenabled())
        return recorded(api, stream)

    spy.__annotations__ = recorded.__annotations__
    monkeypatch.setattr(type(machine.api), "_cudaStreamEndCapture", spy)
    with open_engine(machine.plan) as engine:
        for _ in range(2):
            engine.infer(machine.images(3))
        assert (seen, gc.isenabled()) == ([False], True)
        machine.gpu.fails = lambda index, name: name == "cudaStreamBeginCapture"
        for _ in range(2):
            engine.infer(machine.images(4))
        assert gc.isenabled()


@pytest.mark.parametrize("flavour", list(Flavour))
def test_a_server_captures_every_batch_before_it_is_ready(make_machine: MakeMachine, flavour: Flavour) -> None:
    machine = make_machine(flavour=flavour)
    calls = machine.gpu.calls
    with open_engine(machine.plan) as engine, engine.slots(7) as slots:
        warm_up(engine, slots, 7)
        contexts, compiled = calls.count("create_execution_context"), list(machine.trt._compiled)
        assert contexts == SLOTS * (1 + len((1, 2, 4, 8)))
        assert calls.count("cudaStreamBeginCapture") == (SLOTS * 4 if flavour is Flavour.TRT else 0)
        for count in [*range(1, 8)] * SLOTS:
            with slots.acquire() as slot:
                slot.pixels[:count] = machine.images(count)
                slot.submit(count)
                machine.check(slot.result(), machine.images(count))
        assert calls.count("create_execution_context") == contexts
        assert calls.count("cudaStreamBeginCapture") == (SLOTS * 4 if flavour is Flavour.TRT else 0)
        assert machine.trt._compiled == compiled
    machine.check_all_given_back()


def test_a_log_takes_no_lock_that_closing_holds(make_machine: MakeMachine) -> None:
    """TensorRT's own threads may log while an engine closes, and it waits for them."""
    machine, heard = make_machine(flavour=Flavour.TRT_RTX), []
    keep = machine.trt._works

    def serialize_while_another_logs(call: str) -> bool:
        if call == "serialize":  # within close
            other = Thread(target=lambda: heard.append(machine.trt._logger.log(1, "another thread's")), daemon=True)
            other.start()
            other.join(5)
            assert not other.is_alive(), "it waits for the one that waits for it"
        return keep(call)

    machine.trt._works = serialize_while_another_logs
    with open_engine(machine.plan) as engine:
        engine.infer(machine.images(1))
    assert heard == [None]


def test_threads_with_an_engine_each_and_threads_that_share_one(make_machine: MakeMachine) -> None:
    machine = make_machine()
    pieces = [machine.images(count, seed) for seed, count in enumerate([3, 1, 8, 3, 11, 2] * 2)]
    answer = machine.trt._answer

    def slowly(pixels: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(0.0005)  # another thread's turn, if it takes it
        return answer(pixels)

    machine.trt._answer = slowly
    with open_engine(machine.plan) as shared, ThreadPoolExecutor(4) as threads:

        def work(_: int) -> None:
            with open_engine(machine.plan) as own:
                for pixels in pieces:
                    machine.check(own.infer(pixels), pixels)
                    machine.check(shared.infer(pixels), pixels)

        list(threads.map(work, range(4)))
    machine.check_all_given_back()


def test_the_callers_own_gpu_stays_chosen(make_machine: MakeMachine) -> None:
    """PyTorch's device in this thread, for example."""
    machine = make_machine()
    machine.api._cudaSetDevice(1)
    with open_engine(machine.plan) as engine:
        assert machine.api.device() == 1
        machine.check(engine.infer(machine.images(2)), machine.images(2))
        assert machine.api.device() == 1
    assert machine.api.device() == 1
    machine.check_all_given_back()


@pytest.mark.parametrize("pycuda", [False, True])
def test_an_engine_that_is_closed_says_so(make_machine: MakeMachine, pycuda: bool) -> None:
    machine = make_machine(pycuda=pycuda)
    with open_engine(machine.plan) as engine:
        pass
    with pytest.raises(DeviceError, match="closed"):
        engine.infer(machine.images(1))
    engine.close()
    assert machine.gpu.live() == {}


def test_a_context_for_a_profiler_runs_every_size_without_a_graph(make_machine: MakeMachine) -> None:
    machine = make_machine(profiles=((1, 1, 1), (2, 8, 8)))
    with open_engine(machine.plan) as engine:
        for _ in range(2):
            engine.infer(machine.images(3))
        context = engine.context_to_profile(3)
        launched = machine.gpu.calls.count("cudaGraphLaunch")
        for count in (3, 3, 5, 5):
            machine.check(engine.infer(machine.images(count)), machine.images(count))
        assert context._shapes[-2:] == [3, 5]
        assert machine.gpu.calls.count("cudaGraphLaunch") == launched
        assert machine.gpu.graphs == {}


def test_a_view_is_read_as_it_is(make_machine: MakeMachine) -> None:
    machine = make_machine()
    pixels = machine.images(4)[:, ::-1, ::-1]
    with open_engine(machine.plan) as engine:
        machine.check(engine.infer(pixels), pixels)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8), np.zeros((1, 8, 8, 3), np.float32)],
)
def test_other_pixels_are_refused(make_machine: MakeMachine, pixels: np.ndarray) -> None:
    machine = make_machine()
    refusal = re.escape("expected uint8 (N, 8, 8, 3) with N of 1 or more")
    with open_engine(machine.plan) as engine, pytest.raises(UsageError, match=refusal):
        engine.infer(pixels)


def test_a_version_compatible_plan_may_bring_its_code(make_machine: MakeMachine) -> None:
    machine = make_machine()
    rewrite(machine.plan, version_compatible=True, version="10.9.0")
    machine.trt._host_code = True
    with open_engine(machine.plan) as engine:
        machine.check(engine.infer(machine.images(2)), machine.images(2))


def test_a_plan_that_answers_otherwise_than_its_contract_is_refused(make_machine: MakeMachine) -> None:
    machine = make_machine(wide=1)
    with pytest.raises(ArtifactError, match="its contract says"), open_engine(machine.plan):
        pass


@pytest.mark.parametrize("flavour", list(Flavour))
def test_a_failure_is_told_to_the_thread_that_it_happened_in(make_machine: MakeMachine, flavour: Flavour) -> None:
    machine = make_machine(flavour=flavour)
    log = log_of(machine.trt)

    def fails(wanted: str, name: str) -> bool:
        other = Thread(target=log.log, args=(1, "another thread's"))
        other.start()
        other.join()
        return name == wanted

    with open_engine(machine.plan) as engine:
        machine.gpu.fails = lambda index, name: fails("set_input_shape", name)
        told = re.escape(
            f"{machine.plan}: TensorRT refuses pixels of shape (1, 8, 8, 3): set_input_shape said no in two"
        )
        with pytest.raises(DeviceError, match=f"^{told} lines$"):
            engine.infer(machine.images(1))
        machine.gpu.fails = lambda index, name: fails("execute_async_v3", name)
        with pytest.raises(DeviceError, match=r"can't run: execute_async_v3 said no in two lines$"):
            engine.infer(machine.images(1))


@given(
    profiles=st.lists(st.lists(st.integers(1, 12), min_size=3, max_size=3).map(sorted), min_size=1, max_size=4),
    data=st.data(),
)
def test_the_profile_computes_no_more_than_another_would(profiles: list[list[int]], data: st.DataObject) -> None:
    listed = tuple(Profile(index, *sizes) for index, sizes in enumerate(profiles))
    count = data.draw(st.integers(1, max(high for _, _, high in profiles)))
    index, rows = choose(listed, count)
    low, _, high = profiles[index]
    assert low <= rows <= high
    assert rows == min(max(count, low) for low, _, high in profiles if high >= count)
    assert all(high <= other for one, _, other in profiles if one <= rows <= other and rows == count)
