"""The CPU cores at this process's disposal."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where a container finds what it may use; on other systems nothing is there."""


def usable_cores() -> int:
    """Return the number of logical CPUs that this process may run on, or may use as much time as."""
    # taskset, or a container's cpuset, may allow fewer than there are
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, core_quota() or cores)


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
