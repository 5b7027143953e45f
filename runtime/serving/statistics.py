"""Statistics of one model as Triton counts them: requests, batches, and where their time went."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Duration:
    """How often something happened, and for how long in total."""

    def __init__(self) -> None:
        self.count = 0
        self.ns = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count it `count` times more, for `seconds` together."""
        self.count += count
        self.ns += max(0, round(seconds * 1e9))

    def told(self) -> dict[str, int]:
        """Return the protocol's StatisticDuration."""
        return {"count": self.count, "ns": self.ns}


_OF_REQUESTS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
"""What is counted by request: compute_input is decoding and checking, compute_output is what follows the engine."""


class Statistics:
    """The counters of one model. Filled by the event loop's thread and by the engine's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations = {name: Duration() for name in _OF_REQUESTS}
        self._batches: dict[int, Duration] = {}
        self._images = 0
        self._last_ms = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time within the `with` to `name`, unless it raises."""
        started = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - started)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Time one request as a success, or as a failure if it raises."""
        started, name = time.perf_counter(), "fail"
        try:
            yield
            name = "success"
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float, count: int = 1) -> None:
        """Add to one of the durations by request."""
        with self._lock:
            self._durations[name].add(seconds, count)

    def batch(self, images: int, took_s: float) -> None:
        """Count one batch that the engine has answered."""
        with self._lock:
            self._batches.setdefault(images, Duration()).add(took_s)
            self._images += images
            self._last_ms = time.time_ns() // 1_000_000

    def told(self) -> dict[str, Any]:
        """Return the protocol's ModelStatistics, without name and version."""
        with self._lock:
            return {
                "last_inference": self._last_ms,
                "inference_count": self._images,
                "execution_count": sum(duration.count for duration in self._batches.values()),
                "inference_stats": {name: duration.told() for name, duration in self._durations.items()},
                "batch_stats": [
                    {"batch_size": size, "compute_infer": duration.told()}
                    for size, duration in sorted(self._batches.items())
                ],
            }
