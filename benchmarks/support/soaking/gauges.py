"""What a running server holds, read from /proc: memory, file descriptors, threads, and its share of a core."""

import os
import re
import time
from pathlib import Path

from benchmarks.support.serve_process import resident_mb

_TICKS_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ProcessGauges:
    """Gauges of one process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._read_s, self._busy_s = time.monotonic(), self._computed_s()

    def read(self) -> dict[str, float]:
        """Return `rss_mb`, `fds`, `threads`, and `cores`: how many it kept busy since it was read last.

        Raises:
            OSError: the process has ended.
        """
        now, busy = time.monotonic(), self._computed_s()
        cores = (busy - self._busy_s) / max(now - self._read_s, 1e-3)
        self._read_s, self._busy_s = now, busy
        status = Path(f"/proc/{self._pid}/status").read_text()
        threads = re.search(r"^Threads:\s+(\d+)$", status, re.MULTILINE)
        return {
            "rss_mb": round(resident_mb(self._pid), 1),
            "fds": len(list(Path(f"/proc/{self._pid}/fd").iterdir())),
            "threads": int(threads[1]) if threads else 0,
            "cores": round(cores, 3),
        }

    def _computed_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_S
