"""Every call that TensorRT or CUDA can refuse, refused once, and from there on for good."""

import gc
from collections import deque

import numpy as np
import pytest
from fake_machine import Machine, MakeMachine

from lstn.errors import LstnError
from lstn.formats.plan_file import Flavour
from lstn.runtime.engines.base import Engine
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.slots import Slot

GIVES_BACK = {
    *("cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy", "cudaGraphDestroy", "cudaGraphExecDestroy"),
    *("DeviceAllocation.free", "PagelockedHostAllocation.free"),
}
"""Whose refusal is a leak that nobody can mend."""

ENDS = GIVES_BACK | {"cudaGetDevice", "Context.push", "cudaStreamSynchronize", "Stream.synchronize", "serialize"}
"""What is called when slots or an engine are closed, where nobody is told of a refusal, but of a cache's that isn't
kept."""

MACHINES = [
    pytest.param({"flavour": flavour, "pycuda": pycuda}, id=f"{flavour.value}-{'pycuda' if pycuda else 'cuda-python'}")
    for flavour in Flavour
    for pycuda in (False, True)
]


class Produced:
    """An array on the GPU whose producer works on the default stream."""

    def __init__(self, machine: Machine, pixels: np.ndarray) -> None:
        machine.gpu.memory[pixels.ctypes.data] = pixels.reshape(-1)
        self.__cuda_array_interface__ = {
            "shape": pixels.shape,
            "typestr": "|u1",
            "data": (pixels.ctypes.data, False),
            "version": 3,
            "stream": 1,
        }


def bare(error: LstnError) -> LstnError:
    """Without its frames, which hold what the fakes were given: the real ones have none in Python."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def use(machine: Machine) -> list[LstnError]:
    """Open, infer as often as it takes to see every path, close; an engine that failed once has to go on.

    Batch sizes alternate, come again, exceed the largest, lie below a floor and come from the GPU.
    """
    errors: list[LstnError] = []
    on_gpu = machine.images(2, seed=99)
    with open_engine(machine.plan) as engine:
        for seed, count in enumerate((3, 3, 1, 3, 7, 12, 1, 12)):
            pixels = machine.images(count, seed)
            try:
                machine.check(engine.infer(pixels), pixels)
            except LstnError as error:
                errors.append(bare(error))
        try:
            machine.check(engine.infer(Produced(machine, on_gpu)), on_gpu)
            engine.device_ms(on_gpu)
        except LstnError as error:
            errors.append(bare(error))
        finally:
            del machine.gpu.memory[on_gpu.ctypes.data]
        errors += use_slots(machine, engine)
    return errors


def use_slots(machine: Machine, engine: Engine) -> list[LstnError]:
    """Fill as many slots as there are before the first is asked; leave one unsubmitted, and one without an answer."""
    errors: list[LstnError] = []
    under_way: deque[tuple[Slot, np.ndarray]] = deque()

    def ask() -> None:
        slot, pixels = under_way.popleft()
        machine.check(slot.result(), pixels)

    try:
        with engine.slots(5) as slots:
            for seed, count in enumerate((3, 3, 3, 4, 3, 1, 3)):
                try:
                    if len(under_way) == slots.count:
                        ask()
                    slot, pixels = slots.acquire(), machine.images(count, seed)
                    slot.pixels[:count] = pixels
                    slot.submit(count)
                    under_way.append((slot, pixels))
                except LstnError as error:
                    errors.append(bare(error))
            if len(under_way) == slots.count:
                under_way.popleft()[0].release()
            slots.acquire()
    except LstnError as error:
        errors.append(bare(error))
    return errors


PROFILES = ((2, 2, 4), (6, 6, 8))


@pytest.mark.parametrize("options", MACHINES)
def test_whatever_fails_once_is_told_in_one_line_and_leaks_nothing(
    make_machine: MakeMachine, options: dict[str, object]
) -> None:
    machine = make_machine(profiles=PROFILES, **options)
    assert use(machine) == []
    machine.check_all_given_back()
    names = list(machine.gpu.calls)
    told = 0
    for refused, name in enumerate(names, 1):
        machine = make_machine(profiles=PROFILES, **options)
        machine.gpu.fails = lambda index, name, refused=refused: index == refused
        try:
            errors = use(machine)
        except LstnError as error:  # while it was opened
            errors = [bare(error)]
        assert len(errors) <= 1, f"{name}: one failure, and the next call works again"
        for error in errors:
            told += 1
            assert "\n" not in error.message, name
            assert name in error.message or "said no in two lines" in error.message, error.message
        del errors
        machine.check_others_see_nothing()
        if name not in GIVES_BACK | {"Context.push"}:  # without its context pycuda gives nothing back either
            machine.check_all_given_back()
    assert told > 20


@pytest.mark.parametrize("options", MACHINES)
def test_after_a_fault_that_stays_nothing_raises_but_our_errors(
    make_machine: MakeMachine, options: dict[str, object]
) -> None:
    machine = make_machine(profiles=PROFILES, **options)
    use(machine)
    contexts = []
    for first in range(1, len(machine.gpu.calls) + 1, 3):
        machine = make_machine(profiles=PROFILES, **options)
        machine.gpu.fails = lambda index, name, first=first: index >= first
        try:
            errors = use(machine)
        except LstnError as error:  # while it was opened
            errors = [error]
        assert errors or machine.gpu.calls[first - 1] in ENDS, machine.gpu.calls[first - 1]
        assert not any("\n" in error.message for error in errors)
        del errors
        contexts.append(machine.trt._contexts)
    gc.collect()
    assert [list(each) for each in contexts] == [[]] * len(contexts)


@pytest.mark.parametrize(
    "name", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphLaunch"]
)
def test_without_a_graph_the_answers_are_the_same(make_machine: MakeMachine, name: str) -> None:
    """For good: each batch size tries it once, and goes on without."""
    machine = make_machine()
    machine.gpu.fails = lambda index, called: called == name
    with open_engine(machine.plan) as engine:
        for seed in range(5):
            for count in (2, 5):
                pixels = machine.images(count, seed)
                machine.check(engine.infer(pixels), pixels)
    assert machine.gpu.calls.count(name) == 2
    machine.check_all_given_back()


def test_the_callers_error_is_not_hidden_by_a_failing_end(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.gpu.fails = lambda index, name: name == "cudaStreamSynchronize"
    with pytest.raises(KeyError), open_engine(machine.plan):
        raise KeyError
    machine.check_all_given_back()
