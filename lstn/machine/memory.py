"""The memory that this process may still use, and sizes in words."""

from pathlib import Path

from lstn.machine.cores import CGROUP

MEMINFO = Path("/proc/meminfo")
OWN_CGROUP = Path("/proc/self/cgroup")

_BATCH_BYTES = 16 << 20
"""Of one batch of pixels, unless a user says how many images: the first layer of a VGG makes 1.4 GB of them."""


def available_bytes() -> int | None:
    """Return how much memory can still be had here: the machine's, or less where a container has a limit.

    None where the system doesn't say, as outside of Linux.
    """
    known = [left for left in (_machine(), *map(_left, _groups())) if left is not None]
    return max(0, min(known)) if known else None


def batch_of(image_hw: tuple[int, int], most: int) -> int:
    """Return how many images to compute at once, at most `most`: fewer where they are huge."""
    height, width = image_hw
    return max(1, min(most, _BATCH_BYTES // (height * width * 3)))


def size(count: float) -> str:
    """Return a number of bytes as a person says it, such as `3.4 GB`."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _machine() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _groups() -> list[Path]:
    """The folders of this process's control groups: its own, and those around it, whose limits hold as well."""
    try:
        lines = [line.split(":", 2) for line in OWN_CGROUP.read_text().splitlines()]
        inside = [(root, path) for _, root, path in lines if root == "" or "memory" in root.split(",")]
    except (OSError, ValueError):
        inside = []
    found = [CGROUP, CGROUP / "memory"]
    for root, path in inside:
        base = CGROUP / "memory" if root else CGROUP
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [base.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    return found


def _left(group: Path) -> int | None:
    """What a control group's limit leaves, version 2 or 1. Cached files count as used, and are given up when needed."""
    names = ("memory.max", "memory.current", "inactive_file")
    if not (group / names[0]).is_file():
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    try:
        limit, used = (int((group / name).read_text()) for name in names[:2])  # `max` is no number, and no limit
    except (OSError, ValueError):
        return None
    try:
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= int(stat.get(names[2], 0))
    except (OSError, ValueError):
        pass
    return limit - used
