"""Energy of one image, where the machine counts it. Where it doesn't, there is no figure."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lstn.runtime.bench.energy_counters import EnergyCounter, Joules, find_counter

SECONDS = 5.0
"""How long is measured, at least: NVML's counter ticks some ten times a second."""

_PATIENCE_S = 1.0
"""How long a counter may stand still."""


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules for one image, and whose joules: `GPU`, `CPU` or `module`."""

    joules_per_image: float
    of: str


def measure_energy(
    run: Callable[[], object],
    *,
    images: int,
    on_gpu: bool,
    seconds: float = SECONDS,
    counter: EnergyCounter | None = None,
) -> Energy | None:
    """Run alone for about `seconds` and read the counter before and after; None where there is none.

    Both readings are of moments at which the counter ticked, since between two ticks it stands still.

    images:  how many a call of `run` takes
    counter: of the GPU or the CPU; found by itself if left out
    """
    counter = counter or find_counter(on_gpu=on_gpu)
    if counter is None:
        return None
    with counter.open() as joules:
        first, _ = _run_to_tick(run, joules)
        calls, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            run()
            calls += 1
        last, further = _run_to_tick(run, joules)
    used = last - first
    return Energy(used / ((calls + further) * images), counter.of) if used > 0 else None


def _run_to_tick(run: Callable[[], object], joules: Joules) -> tuple[float, int]:
    """Run until the counter ticks, or stands still for too long; return what it says then, and the calls."""
    before, calls, end = joules(), 0, time.perf_counter() + _PATIENCE_S
    while True:
        run()
        calls += 1
        now = joules()
        if now != before or time.perf_counter() >= end:
            return now, calls
