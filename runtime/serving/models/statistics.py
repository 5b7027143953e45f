"""Statistics of one model as Triton counts them: requests, batches, and where their time went."""

import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the time of one answered request went, in seconds.

    queue:          from its pixels to its first batch's start
    compute_input:  checking and decoding
    compute_infer:  the engine, for the whole batches that it was in
    compute_output: what follows the engine
    """

    queue: float
    compute_input: float
    compute_infer: float
    compute_output: float


class Duration:
    """How often something happened, and for how long in total."""

    def __init__(self) -> None:
        self.count = 0
        self.ns = 0

    def add(self, seconds: float) -> None:
        """Count it once more."""
        self.count += 1
        self.ns += max(0, round(seconds * 1e9))

    def told(self) -> dict[str, int]:
        """Return the protocol's StatisticDuration."""
        return {"count": self.count, "ns": self.ns}


_OF_REQUESTS = ("success", "fail", *Phases.__dataclass_fields__)


class Statistics:
    """The counters of one model. Filled by the event loop's thread and by the engine's.

    A request is counted as a whole when it is over: perf_analyzer wants as many of each of its phases, at any moment.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = {name: Duration() for name in _OF_REQUESTS}
        self._batches: dict[int, Duration] = {}
        self._last_ms = 0

    def succeeded(self, took_s: float, phases: Phases) -> None:
        """Count a request that was answered."""
        with self._lock:
            self._requests["success"].add(took_s)
            for name in Phases.__dataclass_fields__:
                self._requests[name].add(getattr(phases, name))

    def failed(self, took_s: float) -> None:
        """Count a request that was not answered."""
        with self._lock:
            self._requests["fail"].add(took_s)

    def batch(self, images: int, took_s: float) -> None:
        """Count one batch that the engine has answered."""
        with self._lock:
            self._batches.setdefault(images, Duration()).add(took_s)
            self._last_ms = time.time_ns() // 1_000_000

    def told(self) -> dict[str, Any]:
        """Return the protocol's ModelStatistics, without name and version."""
        with self._lock:
            return {
                "last_inference": self._last_ms,
                "inference_count": sum(size * batches.count for size, batches in self._batches.items()),
                "execution_count": sum(batches.count for batches in self._batches.values()),
                "inference_stats": {name: duration.told() for name, duration in self._requests.items()},
                "batch_stats": [_of_batches(size, batches) for size, batches in sorted(self._batches.items())],
            }


def _of_batches(size: int, batches: Duration) -> dict[str, Any]:
    """Decoding and what follows the engine are done by request, and cost a batch nothing."""
    nothing = {"count": batches.count, "ns": 0}
    return {
        "batch_size": size,
        "compute_input": nothing,
        "compute_infer": batches.told(),
        "compute_output": nothing,
    }
