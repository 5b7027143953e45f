"""Throughput: images/s with several batches under way, as `trtexec --infStreams=2` has them.

A figure of latency can't say it: while one batch is copied another one can be computed. What is timed begins with rows
that are full and ends with answers in the host's memory; nobody decodes.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lstn.errors import UsageError
from lstn.files import sha256_of
from lstn.interval import Interval
from lstn.machine.collector import collector_at_rest
from lstn.machine.environment import Environment
from lstn.machine.gpu import Device
from lstn.runtime.bench.latency import MAX_ROUNDS, Milliseconds, ratio
from lstn.runtime.bench.timed_engines import BenchSetup
from lstn.runtime.engines.opening import open_engine
from lstn.runtime.engines.slots import Slot, Slots

AT_ONCE = 2
"""Batches under way."""

VERSION = 1

_MIN_ROUNDS = 5
_STRETCH_S = 0.2
_LEAST, _MOST = 4, 200
"""Batches of a stretch."""


@dataclass(frozen=True, slots=True, eq=False)
class Throughput:
    """One engine at one batch size.

    samples: (R,) ms from one answer to the next, each the mean of a stretch, in the order of the rounds
    ratio:   of its images/s to those of the first engine at the same batch size; None for the first itself
    """

    path: Path
    batch: int
    samples: Milliseconds
    ratio: Interval | None

    def images_per_s(self, percentile: float) -> float:
        """Images/s that so many per cent of the stretches reach or stay below; 50: the median."""
        return 1000 * self.batch / float(np.percentile(self.samples, 100 - percentile))


def measure_throughput(
    paths: Sequence[Path],
    setup: BenchSetup,
    *,
    tell: Callable[[str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> list[Throughput]:
    """Keep AT_ONCE batches under way in each engine in turn, for a stretch of some batches a round, in a random order.

    Returns: by batch size, then in the order of `paths`

    clock: returns seconds

    Raises:
        UsageError: an engine doesn't take one of the batch sizes.
        LstnError: an engine can't be opened, or fails.
    """
    found = []
    for batch in setup.batches:
        tell(f"timing {len(paths)} at batch {batch}, {AT_ONCE} under way, about {setup.seconds * len(paths):.0f} s")
        with ExitStack() as stack:
            lines = [_Stretches(_slots(stack, path, batch, setup), batch, clock) for path in paths]
            samples = _rounds(lines, setup, clock)
        for index, path in enumerate(paths):
            against = ratio(samples[:, 0], samples[:, index], seed=setup.seed) if index else None
            found.append(Throughput(path, batch, samples[:, index], against))
    return found


def report_throughput(found: Sequence[Throughput], setup: BenchSetup, environment: Environment) -> dict[str, object]:
    """Return all that is known as JSON values: setup, environment, the files' SHA-256, results with raw samples."""
    return {
        "version": VERSION,
        "setup": asdict(setup) | {"device": setup.device.value, "at_once": AT_ONCE},
        "environment": asdict(environment),
        "files": {str(path): sha256_of(path) for path in dict.fromkeys(each.path for each in found)},
        "throughput": [
            {
                "path": str(each.path),
                "batch": each.batch,
                "images_per_s": {f"p{percentile}": each.images_per_s(percentile) for percentile in (50, 10, 1)},
                "ratio": None if each.ratio is None else asdict(each.ratio),
                "samples_ms": each.samples.tolist(),
            }
            for each in found
        ],
    }


def _slots(stack: ExitStack, path: Path, batch: int, setup: BenchSetup) -> Slots:
    device = setup.device if path.suffix.lower() == ".onnx" else Device.AUTO  # a plan has no choice
    engine = stack.enter_context(open_engine(path, device=device, threads=setup.threads, spin=setup.spin))
    if batch > engine.max_batch:
        raise UsageError(f"--batch {batch}: {path} takes batches of {engine.max_batch} at most")
    slots = stack.enter_context(engine.slots(batch, most=AT_ONCE))
    random = np.random.default_rng(setup.seed)
    for slot in [slots.acquire() for _ in range(slots.count)]:
        slot.pixels[:] = random.integers(0, 256, slot.pixels.shape, dtype=np.uint8)
        slot.release()
    return slots


class _Stretches:
    """Batches of one engine, one behind the other. The rows stay as they were filled once."""

    def __init__(self, slots: Slots, batch: int, clock: Callable[[], float]) -> None:
        """Warm up: a plan's slots capture what comes for the second time."""
        self._slots, self._batch, self._clock = slots, batch, clock
        self._count = _LEAST
        ms = min(self.stretch_ms() for _ in range(3))
        self._count = int(np.clip(np.ceil(1000 * _STRETCH_S / max(ms, 1e-3)), _LEAST, _MOST))

    def stretch_ms(self) -> float:
        """Return the milliseconds from one answer to the next, without the first ones, before which others waited."""
        under_way = deque(self._submitted() for _ in range(self._slots.count))
        under_way.popleft().result()
        began = self._clock()
        for _ in range(self._count):
            under_way.append(self._submitted())
            under_way.popleft().result()
        taken = self._clock() - began
        for slot in under_way:
            slot.result()
        return 1000 * taken / self._count

    def _submitted(self) -> Slot:
        slot = self._slots.acquire()
        slot.submit(self._batch)
        return slot


def _rounds(lines: Sequence[_Stretches], setup: BenchSetup, clock: Callable[[], float]) -> Milliseconds:
    """Return (R, E) ms: a stretch of each engine a round."""
    order = np.random.default_rng(setup.seed)
    rounds: list[list[float]] = []
    end = clock() + setup.seconds * len(lines)
    with collector_at_rest():
        while len(rounds) < _MIN_ROUNDS or (clock() < end and len(rounds) < MAX_ROUNDS):
            taken = [0.0] * len(lines)
            for index in order.permutation(len(lines)):
                taken[index] = lines[index].stretch_ms()
            rounds.append(taken)
    return np.array(rounds)
