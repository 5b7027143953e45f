"""The CPU cores at this process's disposal."""

import math
import os
from pathlib import Path

from lstn.errors import UsageError

CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds what it may use; on other systems nothing is there."""

_SPINS = "5000"
"""Some 50 microseconds; left to itself it is 300,000 of them (libgomp's env.c).

Training with two threads on two cores: as fast as with 300,000 on a quiet machine (resnet-18 at 64 pixels 1.01 of it,
cnn at 48 0.96; with 1,000 spins 0.96 and 0.88), and 1.8 times as fast where two other processes spin (resnet-18)."""

_MOST_PER_CORE, _MOST_DECODERS = 8, 8


def usable_cores() -> int:
    """Return the number of logical CPUs that this process may run on, or may use as much time as."""
    # taskset, or a container's cpuset, may allow fewer than there are
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, core_quota() or cores)


def decoders(asked: int | None) -> int:
    """Return how many threads or processes decode images: as many as are asked for, else one for each core, up to 8."""
    return min(usable_cores(), _MOST_DECODERS) if asked is None else asked


def within_cores(count: int | None) -> int | None:
    """Return a number of threads or processes that a user asks for, if this machine can stand it.

    Raises:
        UsageError: more than eight for each core; thousands would bring the machine down, and be slower long before.
    """
    cores = os.cpu_count() or 1
    if count is not None and count > _MOST_PER_CORE * cores:
        raise UsageError(
            f"{count} threads or processes are too many for the {cores} cores of this machine",
            hint=f"give {_MOST_PER_CORE * cores} at most, or leave it out",
        )
    return count


def share_cores() -> None:
    """Tell the libraries of this process, before they are loaded, to share the cores; what a user has set stays.

    A thread of OpenMP's that waits for others spins for about a millisecond, on a core that whoever it waits for may
    want. The kernel wakes a thread in a hundredth of that, so it spins no longer (GOMP_SPINCOUNT: GNU's OpenMP, which
    PyTorch brings). And the libraries see a container's cores, but not its quota.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = _SPINS
    if core_quota() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def core_quota() -> int | None:
    """Return how many cores' time a container may use, rounded up; None where none is set.

    Docker's `--cpus` and Kubernetes' limits set one and hide no core: a thread for each core there is would use it up
    in a moment, and then all of them would stand still until the next period.
    """
    try:
        if (CGROUP / "cpu.max").is_file():
            quota, period = (CGROUP / "cpu.max").read_text().split()
        else:  # version 1
            quota, period = ((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        share = float(quota) / float(period)  # version 2 says `max` for none, version 1 says -1
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return math.ceil(share) if 0 < share < math.inf else None
