"""Images on the GPU: who made them, when they are ready, and what is refused."""

import ctypes
import re
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fake_gpu import LEGACY, FakeStream
from fake_machine import Machine, MakeMachine

from lstn.errors import DeviceError, UsageError
from lstn.runtime.engines.opening import open_engine

FOREIGN = 0x7000
"""A producer's own stream."""


class Made:
    """An array on the GPU that holds zeros until its producer's stream has come so far."""

    def __init__(self, machine: Machine, pixels: np.ndarray, stream: int | None) -> None:
        self.machine, self.stream = machine, stream
        self.memory = np.zeros_like(pixels)
        machine.gpu.memory[self.memory.ctypes.data] = self.memory.reshape(-1)
        if stream is None:
            self.memory[...] = pixels
        else:
            machine.gpu.others.setdefault(stream, FakeStream(machine.gpu))
            machine.gpu.others[stream].start(lambda: self.memory.__setitem__(..., pixels))


class Interface(Made):
    def __init__(
        self, machine: Machine, pixels: np.ndarray, stream: int | None, version: int = 3, **changes: Any
    ) -> None:
        super().__init__(machine, pixels, stream)
        fields = {"shape": pixels.shape, "typestr": "|u1", "data": (self.memory.ctypes.data, False), "strides": None}
        self.__cuda_array_interface__ = fields | {"version": version} | changes
        if version >= 3:
            self.__cuda_array_interface__["stream"] = stream


class Dlpack(Made):
    """NumPy's own capsule; what waits is the consumer's stream, and the producer sees to it."""

    device: tuple[int, int] = (2, 0)
    taken: object = None

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int | None = None) -> object:
        assert stream in self.machine.gpu.streams
        if self.stream is not None:
            producer = self.machine.gpu.others[self.stream]
            self.machine.gpu.streams[stream].start(lambda: self.machine.gpu.drain(producer))
        return self.memory.__dlpack__()


KINDS = [
    pytest.param(lambda machine, pixels: Interface(machine, pixels, LEGACY), id="interface-default-stream"),
    pytest.param(lambda machine, pixels: Interface(machine, pixels, FOREIGN), id="interface-own-stream"),
    pytest.param(lambda machine, pixels: Interface(machine, pixels, None), id="interface-ready"),
    pytest.param(lambda machine, pixels: Interface(machine, pixels, FOREIGN, version=2), id="interface-2"),
    pytest.param(lambda machine, pixels: Dlpack(machine, pixels, FOREIGN), id="dlpack"),
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("pycuda", [False, True])
def test_images_on_the_gpu_are_awaited_and_not_copied_through_the_host(
    make_machine: MakeMachine, make: Callable[[Machine, np.ndarray], Made], pycuda: bool
) -> None:
    machine = make_machine(pycuda=pycuda, profiles=((2, 4, 8),))
    made = []
    with open_engine(machine.plan) as engine:
        for seed, count in enumerate((3, 8, 1, 3, 19)):
            pixels = machine.images(count, seed)
            made.append(make(machine, pixels))
            machine.check(engine.infer(made[-1]), pixels)
        assert "memcpy_htod_async" not in machine.gpu.calls
        if not pycuda:
            copies = machine.gpu.calls.count("cudaMemcpyAsync")
            engine.infer(machine.images(1))
            assert copies == 7 * 2  # one in and one out for each piece, as for host memory
            assert machine.gpu.calls.count("cudaMemcpyAsync") == copies + 2
    for each in made:
        del machine.gpu.memory[each.memory.ctypes.data]
    machine.check_all_given_back()


def test_the_producer_is_not_waited_for_by_the_host(make_machine: MakeMachine) -> None:
    """By an event on the GPU: the whole device is waited for only where nobody says which stream."""
    machine = make_machine()
    pixels = machine.images(2)
    with open_engine(machine.plan) as engine:
        engine.infer(Interface(machine, pixels, FOREIGN))
        engine.infer(Dlpack(machine, pixels, FOREIGN))
        assert "cudaDeviceSynchronize" not in machine.gpu.calls
        engine.infer(Interface(machine, pixels, FOREIGN, version=2))
        assert "cudaDeviceSynchronize" in machine.gpu.calls


def test_arrays_of_the_host_are_read_by_dlpack(make_machine: MakeMachine) -> None:
    machine = make_machine()
    pixels = machine.images(3)
    with open_engine(machine.plan) as engine:
        machine.check(engine.infer(torch.from_numpy(pixels)), pixels)
        machine.check(engine.infer(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).permute(0, 2, 3, 1)), pixels)


def other(**changes: Any) -> Callable[[Machine], object]:
    return lambda machine: Interface(machine, machine.images(2), None, **changes)


def on_device(*device: int) -> Callable[[Machine], object]:
    def make(machine: Machine) -> object:
        made = Dlpack(machine, machine.images(2), None)
        made.device = device
        return made

    return make


def strange(error: Exception) -> Callable[[Machine], object]:
    class Strange:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, *, stream: int) -> object:
            raise error

    return lambda machine: Strange()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (other(typestr="<f4"), "pixels are float32 (2, 8, 8, 3); expected uint8 (N, 8, 8, 3)"),
        (other(shape=(2, 3, 8, 8)), "pixels are uint8 (2, 3, 8, 8); expected"),
        (other(shape=(0, 8, 8, 3)), "with N of 1 or more"),
        (other(strides=(192, 8, 1, 64)), "strides (192, 8, 1, 64); expected C-contiguous ones, (192, 24, 3, 1)"),
        (on_device(2, 1), "pixels are on GPU 1; expected host memory or GPU 0"),
        (on_device(10, 0), "a device of DLPack's kind 10"),
        (strange(RuntimeError("requires\ngrad")), "can't be read by DLPack: requires grad"),
        (lambda machine: torch.zeros(2, 8, 8, 3, requires_grad=True), "can't be read by DLPack: "),
        (lambda machine: [[1]], "pixels are a list; expected a NumPy array, or one that is on the GPU"),
    ],
)
def test_what_no_plan_takes_is_refused_and_the_engine_goes_on(
    make_machine: MakeMachine, make: Callable[[Machine], object], told: str
) -> None:
    machine = make_machine()
    with open_engine(machine.plan) as engine:
        with pytest.raises(UsageError, match=re.escape(told)):
            engine.infer(make(machine))
        machine.check(engine.infer(machine.images(2)), machine.images(2))


def test_strides_of_a_size_of_one_mean_nothing(make_machine: MakeMachine) -> None:
    machine = make_machine()
    pixels = machine.images(1)
    with open_engine(machine.plan) as engine:
        machine.check(engine.infer(Interface(machine, pixels, None, strides=(7, 24, 3, 1))), pixels)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.bool_, np.uint16])
def test_dlpacks_dtypes_are_told_apart(make_machine: MakeMachine, dtype: type) -> None:
    machine = make_machine()
    array = np.zeros((2, 8, 8, 3), dtype)
    with open_engine(machine.plan) as engine, pytest.raises(UsageError, match=r"\(2, 8, 8, 3\); expected uint8"):
        engine.infer(Dlpack(machine, array, None))


def test_pytorchs_capsules_are_read_with_their_offset_and_strides(make_machine: MakeMachine) -> None:
    """Made by PyTorch on the host, called a GPU's: a second writer of the structure, which always writes strides."""
    machine = make_machine()
    whole = torch.from_numpy(machine.images(5))

    class Posing:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, *, stream: int) -> object:
            return self.tensor.__dlpack__()

    machine.gpu.memory[whole.data_ptr()] = np.ctypeslib.as_array(
        (ctypes.c_uint8 * whole.nbytes).from_address(whole.data_ptr())
    )
    with open_engine(machine.plan) as engine:
        machine.check(engine.infer(Posing(whole[2:4])), whole[2:4].numpy())
        with pytest.raises(UsageError, match="strides"):
            engine.infer(Posing(whole.transpose(1, 2)))


def test_a_tensor_that_only_its_capsule_holds_lives_as_long_as_it_is_read(make_machine: MakeMachine) -> None:
    machine = make_machine()
    pixels = machine.images(2)

    class Fleeting:
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, *, stream: int) -> object:
            array = pixels.copy()
            address = array.ctypes.data
            memory = (ctypes.c_uint8 * array.nbytes).from_address(address)
            machine.gpu.memory[address] = np.ctypeslib.as_array(memory)
            weakref.finalize(array, machine.gpu.memory.pop, address)
            return array.__dlpack__()

    with open_engine(machine.plan) as engine:
        machine.check(engine.infer(Fleeting()), pixels)
    machine.check_all_given_back()


def test_memory_is_held_until_the_gpu_has_read_it(make_machine: MakeMachine) -> None:
    """Also where something fails after the copy was started: nothing waits on the stream when `infer` is left."""
    machine = make_machine()
    with open_engine(machine.plan) as engine:
        machine.gpu.fails = lambda index, name: name == "execute_async_v3"
        with pytest.raises(DeviceError):
            engine.infer(Interface(machine, machine.images(2), FOREIGN))
        assert not any(stream.pending for stream in machine.gpu.streams.values())
