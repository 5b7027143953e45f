"""Slot memory: where one batch of a plan comes from, is computed, and goes to."""

from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from lstn.contract import PIXELS, Contract
from lstn.images import Pixels
from lstn.runtime.engines.cuda.cuda_seam import Address, Bytes, Cuda
from lstn.runtime.engines.plans.plan_loading import outputs_of

_ALIGNED = 256
"""Bytes; TensorRT wants every address to be a multiple of it (IExecutionContext.set_tensor_address)."""


class SlotMemory:
    """Page-locked rows and answers, the same on the GPU, memory for activations, a stream and an event.

    An integrated GPU works in the page-locked memory itself, and nothing is copied.

    pixels:  (rows, H, W, 3) uint8, page-locked
    input:   where the GPU finds them
    scratch: of the activations, and how many bytes
    done:    the event after a batch
    """

    def __init__(self, contract: Contract, cuda: Cuda, rows: int, scratch: int, resources: ExitStack) -> None:
        """Allocate; `resources` gives back, in the opposite order, once nothing runs on the stream any more.

        Raises:
            DeviceError: there is not enough memory.
        """
        self._cuda = cuda
        self._shapes = outputs_of(contract)
        self._row_bytes = int(np.prod((*contract.image_hw, 3)))
        self.stream = cuda.new_stream()
        resources.callback(cuda.destroy_stream, self.stream)
        self.done = cuda.new_event(timed=False)
        resources.callback(cuda.destroy_event, self.done)
        self._host_input, self.input = self._pair(rows * self._row_bytes, resources)
        self._host_outputs, self._outputs = self._pair(self._layout(rows)[1], resources)
        self.scratch = self._on_gpu(scratch, resources), scratch
        self.pixels: Pixels = self._host_input.reshape(rows, *contract.image_hw, 3)

    def addresses(self, rows: int) -> dict[str, Address]:
        """Return where a batch of `rows` has its input and its outputs."""
        places, _ = self._layout(rows)
        return {PIXELS: self.input} | {name: self._outputs + place for name, place in places.items()}

    def copy_in(self, count: int) -> None:
        """Start to copy the first `count` rows to the GPU."""
        if not self._cuda.integrated:
            self._cuda.copy_in(self.input, self._host_input[: count * self._row_bytes], self.stream)

    def copy_over(self, source: Address, start: int, count: int) -> None:
        """Start to copy `count` images of those that are on the GPU already, from `start` on, to where GPU rows are."""
        place = source + start * self._row_bytes
        self._cuda.copy_over(self.input, place, count * self._row_bytes, self.stream)

    def copy_out(self, rows: int) -> None:
        """Start to copy all answers of a batch of `rows` to the host, in one piece."""
        if not self._cuda.integrated:
            self._cuda.copy_out(self._host_outputs[: self._layout(rows)[1]], self._outputs, self.stream)

    def answers(self, rows: int, count: int) -> dict[str, npt.NDArray[np.float32]]:
        """Return the first `count` answers of a batch of `rows`, (count, …) of each output, as arrays of their own."""
        places, size = self._layout(rows)
        kept = self._host_outputs[:size].copy()
        answers = {}
        for name, shape in self._shapes.items():
            values = kept[places[name] : places[name] + 4 * rows * int(np.prod(shape))].view(np.float32)
            answers[name] = values.reshape(rows, *shape)[:count]
        return answers

    def _layout(self, rows: int) -> tuple[dict[str, int], int]:
        """Return where each output of a batch of `rows` begins within their block, and the bytes of all."""
        places, end = {}, 0
        for name, shape in self._shapes.items():
            places[name] = -(-end // _ALIGNED) * _ALIGNED
            end = places[name] + 4 * rows * int(np.prod(shape))
        return places, end

    def _pair(self, size: int, resources: ExitStack) -> tuple[Bytes, Address]:
        host = self._cuda.pin(size)
        resources.callback(self._cuda.unpin, host)
        return host, self._cuda.address_of(host) if self._cuda.integrated else self._on_gpu(size, resources)

    def _on_gpu(self, size: int, resources: ExitStack) -> Address:
        address = self._cuda.allocate(size)
        resources.callback(self._cuda.free, address)
        return address
