"""Threads of a training step: counted down in the first steps, as long as fewer are faster."""

import os
import statistics
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

from lstn.machine.cores import core_quota, usable_cores
from lstn.terminal import note

T = TypeVar("T")

_TURNS = 8
"""Steps with each number of threads. The first is not counted: libraries prepare kernels for a new number. Of the
others the median counts, so that what another program does for a moment decides nothing."""

_WORTH = 1.1
"""Twice as many threads must be that much faster: otherwise they mostly wait for each other, and on a busy machine
(effnet-b0 at 224 pixels, where two other processes spin) even more when another program joins in."""


class Threads:
    """Takes the first steps in turns with all cores and with half as many threads, and keeps what is worth it.

    Where other programs want the cores too, every thread waits for the one whose core is taken. Then half as many are
    often faster, and half of those. On a quiet machine all cores stay, unless the model is too small for them.

    chosen: the number that won, or None as long as steps are measured
    """

    def __init__(self, most: int, chosen: int | None = None) -> None:
        self.chosen = 1 if most == 1 else chosen
        self._kept, self._rival = most, most // 2
        self._seconds: dict[int, list[float]] = {self._kept: [], self._rival: []}
        if self.chosen:
            torch.set_num_threads(self.chosen)

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches, and measure what is done with each until the next is asked for."""
        for batch in batches:
            if self.chosen:
                yield batch
                continue
            count = min(self._seconds, key=lambda each: (len(self._seconds[each]), -each))
            torch.set_num_threads(count)
            began = time.perf_counter()
            yield batch
            self._seconds[count].append(time.perf_counter() - began)
            if all(len(taken) == _TURNS for taken in self._seconds.values()):
                self._judge()

    def _judge(self) -> None:
        kept, rival = (statistics.median(self._seconds[each][1:]) for each in (self._kept, self._rival))
        fewer_do = rival <= _WORTH * kept
        if fewer_do and self._rival > 1:
            self._kept, self._rival = self._rival, self._rival // 2
            self._seconds = {self._kept: [], self._rival: []}
            return
        self.chosen = self._rival if fewer_do else self._kept
        torch.set_num_threads(self.chosen)
        if self.chosen < usable_cores():
            fewer, more = sorted(((self._rival, rival), (self._kept, kept)))
            told = [f"{seconds:.3g} s with {count}" for count, seconds in (fewer, more)]
            note(f"threads: {self.chosen}; a step took {told[0]}, {told[1]}. OMP_NUM_THREADS sets another number")


def threads_here(device: torch.device, chosen: int) -> Threads:
    """Return what chooses the threads of a run on `device`; `chosen` is what the run has used so far, or 0.

    A run keeps its number when it is resumed, since sums in another order end in other weights. OMP_NUM_THREADS comes
    before both. Nothing is measured on a GPU.
    """
    given = os.environ.get("OMP_NUM_THREADS") not in (None, str(core_quota()))
    if given or device.type != "cpu":
        return Threads(most=torch.get_num_threads(), chosen=torch.get_num_threads())
    return Threads(most=usable_cores(), chosen=min(chosen, usable_cores()) if chosen > 0 else None)
